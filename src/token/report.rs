//! What a worker finds out about tokens, mechanisms and keys, as commands show it.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

/// One token of a module, as `C_GetTokenInfo` and `C_GetSlotInfo` describe it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[expect(clippy::struct_excessive_bools, reason = "they are the flags of CK_TOKEN_INFO")]
pub struct TokenReport {
    /// The slot's number, which changes.
    pub slot: u64,
    /// What the slot calls itself.
    pub slot_description: String,
    /// The token's label.
    pub label: String,
    /// The token's serial number.
    pub serial: String,
    /// Who made it.
    pub manufacturer: String,
    /// The model.
    pub model: String,
    /// Its firmware.
    pub firmware: String,
    /// Whether it was initialised.
    pub initialized: bool,
    /// Whether it wants a login.
    pub login_required: bool,
    /// Whether it asks for the PIN at a device of its own.
    pub protected_path: bool,
    /// Whether nothing can be written.
    pub write_protected: bool,
    /// How the normal user's PIN stands.
    pub pin: PinState,
    /// The wrap mechanisms of dekhand that the token lists; empty in a list of tokens.
    pub mechanisms: Vec<String>,
}

/// How a PIN stands, as far as the token's flags tell. Some never do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PinState {
    /// Nobody has set one.
    Unset,
    /// Nothing is known against it.
    Good,
    /// A wrong one was given since the last login.
    CountLow,
    /// The next wrong one locks it.
    FinalTry,
    /// It is locked.
    Locked,
}

/// What a wrap mechanism did when it was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MechanismReport {
    /// The name of the choice in the configuration.
    pub mechanism: String,
    /// Whether dekhand wraps by it.
    pub chosen: bool,
    /// How it went.
    pub verdict: Verdict,
}

/// How a trial went.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Verdict {
    /// It does all that it must.
    Good {
        /// Where IVs come from, for AES-GCM.
        iv: Option<String>,
        /// One wrap.
        wrap: Duration,
        /// One unwrap.
        unwrap: Duration,
    },
    /// The token, or this key, has no such mechanism: the return value, or what is missing.
    Absent(String),
    /// It does what it must not: never used.
    Wrong(String),
    /// It was not tried, for this reason.
    Untried(String),
}

/// What the token says of a root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KeyReport {
    /// `AES-256`, `RSA-3072`.
    pub key: String,
    /// The label.
    pub label: String,
    /// Attributes by their PKCS#11 names without `CKA_`, in the order in which they are shown; `None` where the token
    /// does not say.
    pub attributes: Vec<(String, Option<bool>)>,
    /// What is weaker than dekhand would have made it.
    pub warnings: Vec<String>,
    /// Whether it is another key than the one that this node has used under its id.
    pub another_key: bool,
    /// Whether the token does nothing any more that could show which key it is.
    pub unproven: bool,
}

impl KeyReport {
    /// It is another key than before.
    pub(crate) fn is_another(&mut self) {
        self.another_key = true;
        self.warnings.push(
            "this is another key than the one that this node has used under its id: somebody has exchanged it, and the \
             daemon does not use it"
                .to_owned(),
        );
    }

    /// Nothing shows which key it is.
    pub(crate) fn is_unproven(&mut self) {
        self.unproven = true;
        self.warnings.push(
            "the token does none of the mechanisms any more by which this node could tell that this key is the one that it \
             has used, and the daemon does not use it"
                .to_owned(),
        );
    }
}
