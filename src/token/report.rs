//! A worker's reports about tokens, mechanisms and keys, for commands.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

/// One token of a module, as `C_GetTokenInfo` and `C_GetSlotInfo` describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are the flags of CK_TOKEN_INFO")]
pub struct TokenReport {
    /// The slot's number, which can change.
    pub slot: u64,
    /// The slot's description.
    pub slot_description: String,
    /// The token's label.
    pub label: String,
    /// The token's serial number.
    pub serial: String,
    /// The manufacturer.
    pub manufacturer: String,
    /// The model.
    pub model: String,
    /// The firmware's version.
    pub firmware: String,
    /// Whether it was initialised.
    pub initialized: bool,
    /// Whether it requires a login.
    pub login_required: bool,
    /// Whether the PIN is typed at a device of its own.
    pub protected_path: bool,
    /// Whether it is write-protected.
    pub write_protected: bool,
    /// The state of the normal user's PIN.
    pub pin: PinState,
    /// The wrap mechanisms of dekhand that the token lists; empty in a list of tokens.
    pub mechanisms: Vec<String>,
}

/// The state of a PIN, as far as the token's flags show it. Some tokens never set these flags.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinState {
    /// No PIN is set.
    Unset,
    /// The flags report no problem.
    Good,
    /// A wrong PIN was given since the last login.
    CountLow,
    /// The next wrong PIN locks it.
    FinalTry,
    /// It is locked.
    Locked,
}

/// The result of a trial of a wrap mechanism.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MechanismReport {
    /// The name of the choice in the configuration.
    pub mechanism: String,
    /// Whether dekhand wraps by it.
    pub chosen: bool,
    /// The result.
    pub verdict: TrialResult,
}

/// The result of a trial.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrialResult {
    /// The mechanism works correctly.
    Good {
        /// Where IVs come from, for AES-GCM.
        iv: Option<String>,
        /// One wrap.
        wrap: Duration,
        /// One unwrap.
        unwrap: Duration,
    },
    /// The token, or this key, does not support the mechanism: the return value, or what is missing.
    Absent(String),
    /// The mechanism works incorrectly, and is never used.
    Wrong(String),
    /// It was not tried: the reason.
    Untried(String),
}

/// A token's description of a root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    /// `AES-256`, `RSA-3072`.
    pub key: String,
    /// The label.
    pub label: String,
    /// Attributes by their PKCS#11 names without `CKA_`, in the order in which they are shown; `None` if the token does
    /// not give a value.
    pub attributes: Vec<(String, Option<bool>)>,
    /// Properties that are weaker than those of a key that dekhand makes.
    pub warnings: Vec<String>,
    /// Whether it is not the key that this node has used under its id.
    pub another_key: bool,
    /// Whether the token no longer supports any mechanism that could verify the key.
    pub unproven: bool,
}

impl KeyReport {
    /// Marks the key as a different one than before.
    pub(crate) fn is_another(&mut self) {
        self.another_key = true;
        self.warnings.push(
            "this is not the key that this node has used under its id: somebody has exchanged it, and the daemon does \
             not use it"
                .to_owned(),
        );
    }

    /// Marks the key as one that cannot be verified.
    pub(crate) fn is_unproven(&mut self) {
        self.unproven = true;
        self.warnings.push(
            "the token no longer supports any mechanism that could verify that this key is the one that this node has \
             used, and the daemon does not use it"
                .to_owned(),
        );
    }
}
