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

/// Where a root key lives, and how the token is used.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pkcs11Options {
    /// The vendor's PKCS#11 module, an absolute path.
    pub module: PathBuf,
    /// Which of the module's tokens.
    pub token: TokenName,
    /// How to log in.
    pub login: Login,
    /// The PIN of [`Login::User`] and [`Login::Vendor`].
    pub pin: Option<PinSource>,
    /// The PIN with which `dekhand keys` changes versions, if it is another one.
    pub admin_pin: Option<PinSource>,
    /// So many calls at once, each in a session of its own: 1 to 4.
    pub sessions: u8,
    /// A call that takes longer than this ends the worker.
    pub call_timeout: Duration,
    /// How data keys are wrapped.
    pub mechanism: MechanismChoice,
    /// Environment variables of the worker, above the daemon's own.
    pub environment: Vec<EnvironmentVariable>,
    /// All versions, where labels can't carry them.
    pub versions: Vec<ListedVersion>,
    /// Whether a root key is a private object, seen only after login.
    pub private: bool,
    /// Whether a root key may leave the token wrapped: some devices make no second copy otherwise.
    pub exportable: bool,
}

impl Pkcs11Options {
    /// What a configuration says that names only module and token.
    pub fn new(module: PathBuf, token: TokenName) -> Self {
        Self {
            module,
            token,
            login: Login::User,
            pin: None,
            admin_pin: None,
            sessions: 1,
            call_timeout: Duration::from_secs(10),
            mechanism: MechanismChoice::Auto,
            environment: Vec::new(),
            versions: Vec::new(),
            private: true,
            exportable: false,
        }
    }

    /// Calls that are made at once, each in a session of its own.
    pub fn seats(&self) -> usize {
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
    /// Not at all: the token needs none.
    None,
    /// As the normal user, whose PIN the token asks for at a device of its own.
    ProtectedPath,
    /// As a user type of the vendor's, with a PIN.
    Vendor(u32),
}

/// How data keys are wrapped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MechanismChoice {
    /// By the first of the others that the token does right, RSA only if the root key is one.
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

/// A variable that the module reads.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentVariable {
    /// Its name.
    pub name: String,
    /// Its value.
    pub value: String,
}

/// A version that the configuration lists, since its token's labels can't say what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListedVersion {
    /// Which object it is.
    pub object: ObjectName,
    /// Its number.
    pub number: Number,
    /// When it encrypts; a version without is pending.
    pub activates: Option<Timestamp>,
    /// Since when it does not decrypt.
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
