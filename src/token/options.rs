//! The options of a root key in a PKCS#11 token.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::version::Number;
use crate::token::pin::PinSource;
use crate::token::uri::TokenName;
use crate::token::variable::EnvironmentVariable;

/// The token of a root key, and how it is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pkcs11Options {
    /// The vendor's PKCS#11 module, an absolute path.
    pub module: PathBuf,
    /// The token, among those of the module.
    pub token: TokenName,
    /// How to log in.
    pub login: Login,
    /// The PIN of [`Login::User`] and [`Login::Vendor`].
    pub pin: Option<PinSource>,
    /// The PIN with which `dekhand keys` changes versions, if it is a different one.
    pub admin_pin: Option<PinSource>,
    /// The most concurrent calls, each in a session of its own: 1 to 4.
    pub sessions: u8,
    /// A call that takes longer ends the worker.
    pub call_timeout: Duration,
    /// A worker that has not opened the token after this time is ended: it loads and initialises the module, and logs in.
    pub open_timeout: Duration,
    /// How data keys are wrapped.
    pub mechanism: MechanismChoice,
    /// Environment variables of the worker, added to the daemon's own.
    pub environment: Vec<EnvironmentVariable>,
    /// All versions, if labels cannot be used.
    pub versions: Vec<ListedVersion>,
    /// Whether a root key is a private object, which is visible only after login.
    pub private: bool,
    /// Whether a root key may leave the token wrapped: some devices make no second copy otherwise.
    pub exportable: bool,
}

impl Pkcs11Options {
    /// The options of a configuration that names only module and token.
    pub fn new(module: PathBuf, token: TokenName) -> Self {
        Self {
            module,
            token,
            login: Login::User,
            pin: None,
            admin_pin: None,
            sessions: 1,
            call_timeout: Duration::from_secs(10),
            open_timeout: Duration::from_secs(60),
            mechanism: MechanismChoice::Auto,
            environment: Vec::new(),
            versions: Vec::new(),
            private: true,
            exportable: false,
        }
    }

    /// The number of concurrent calls, each in a session of its own.
    pub fn concurrent_calls(&self) -> usize {
        usize::from(self.sessions.max(1))
    }
}

/// How to log in to a token.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Login {
    /// As the normal user (`CKU_USER`), with a PIN.
    #[default]
    User,
    /// No login: the token needs none.
    None,
    /// As the normal user, whose PIN is typed at the token's own device.
    ProtectedPath,
    /// As a vendor-defined user type, with a PIN.
    Vendor(u32),
}

/// How data keys are wrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MechanismChoice {
    /// The first of the other mechanisms that works correctly on the token; RSA only for an RSA root key.
    #[default]
    Auto,
    /// `CKM_AES_GCM`.
    AesGcm,
    /// `CKM_AES_KEY_WRAP_KWP`.
    AesKwp,
    /// `CKM_AES_CBC`.
    AesCbc,
    /// `CKM_RSA_PKCS_OAEP` with SHA-256.
    RsaOaepSha256,
    /// `CKM_RSA_PKCS_OAEP` with SHA-1.
    RsaOaepSha1,
}

impl From<Mechanism> for MechanismChoice {
    fn from(mechanism: Mechanism) -> Self {
        match mechanism {
            Mechanism::AesGcm | Mechanism::AesGcmTokenIv => Self::AesGcm,
            Mechanism::AesKwp => Self::AesKwp,
            Mechanism::AesCbc => Self::AesCbc,
            Mechanism::RsaOaepSha256 => Self::RsaOaepSha256,
            Mechanism::RsaOaepSha1 => Self::RsaOaepSha1,
        }
    }
}

impl fmt::Display for MechanismChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Auto => "auto",
            Self::AesGcm => "aes-gcm",
            Self::AesKwp => "aes-kwp",
            Self::AesCbc => "aes-cbc",
            Self::RsaOaepSha256 => "rsa-oaep-sha256",
            Self::RsaOaepSha1 => "rsa-oaep-sha1",
        })
    }
}

/// A version in the configuration, for a token whose labels cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedVersion {
    /// How its object is found.
    pub object: ObjectName,
    /// Its number.
    pub number: Number,
    /// When it begins to encrypt; without a time the version is pending.
    pub activates: Option<Timestamp>,
    /// Since when it no longer decrypts.
    pub retired: Option<Timestamp>,
}

/// How a listed version's object is found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ObjectName {
    /// By its `CKA_ID`.
    Id(KeyId),
    /// By its `CKA_LABEL`.
    Label(String),
}
