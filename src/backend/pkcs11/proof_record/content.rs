//! The proof record as bytes: a line for each root key.
//!
//! ```json
//! {
//!   "apiVersion": "dekhand/proofs/v1",
//!   "upgraded": ["name of a root key that an earlier release may have used on this node"],
//!   "rootKeys": [
//!     {
//!       "name": "kube-root",
//!       "public": ["id of a version that counts although its object is public"],
//!       "versions": [
//!         {"id": "hexadecimal", "proofs": [{"mechanism": 1, "wrapped": "hexadecimal", "sha256": "64 hexadecimal digits"}]}
//!       ]
//!     }
//!   ]
//! }
//! ```

use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::backend::pkcs11::state_file::Flaw;
use crate::backend::pkcs11::state_file::check_version;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::name::RootKeyName;
use crate::secret::Key;

pub(super) const API_VERSION: &str = "dekhand/proofs/v1";

/// What is recorded.
#[derive(Debug, Default)]
pub(super) struct Content {
    /// Root keys that an earlier release may have used here.
    pub(super) upgraded: Vec<RootKeyName>,
    pub(super) root_keys: Vec<Line>,
}

/// What is recorded of a root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Line {
    pub(super) name: RootKeyName,
    /// Versions that count although their objects are public.
    pub(in crate::backend::pkcs11) public: Vec<KeyId>,
    pub(super) versions: Vec<VersionLine>,
}

/// What is recorded of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionLine {
    pub(super) id: KeyId,
    pub(super) proofs: Vec<Proof>,
}

/// A wrap that only one root key opens, and what shows that it did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(in crate::backend::pkcs11) struct Proof {
    wrapped: Wrapped,
    sha256: [u8; 32],
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    mechanism: u8,
    wrapped: String,
    sha256: String,
}

impl Line {
    /// The proofs of a version; none if it was not used here.
    pub(in crate::backend::pkcs11) fn proofs(&self, id: &KeyId) -> &[Proof] {
        let version = self.versions.iter().find(|version| version.id == *id);
        version.map(|version| version.proofs.as_slice()).unwrap_or_default()
    }
}

impl Proof {
    /// Of a key and its wrap.
    pub(in crate::backend::pkcs11) fn new(wrapped: Wrapped, key: &Key) -> Self {
        let sha256 = Sha256::digest(key.expose()).into();
        Self { wrapped, sha256 }
    }

    pub(in crate::backend::pkcs11) fn mechanism(&self) -> Mechanism {
        self.wrapped.mechanism
    }

    pub(in crate::backend::pkcs11) fn wrapped(&self) -> &Wrapped {
        &self.wrapped
    }

    /// Whether this key was wrapped.
    pub(in crate::backend::pkcs11) fn is_of(&self, key: &Key) -> bool {
        let digest: [u8; 32] = Sha256::digest(key.expose()).into();
        digest == self.sha256
    }
}

impl From<Proof> for Written {
    fn from(proof: Proof) -> Self {
        let Proof { wrapped, sha256 } = proof;
        Self {
            mechanism: wrapped.mechanism.number(),
            wrapped: hex::encode(wrapped.bytes),
            sha256: hex::encode(sha256),
        }
    }
}

impl TryFrom<Written> for Proof {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let Written {
            mechanism,
            wrapped,
            sha256,
        } = written;
        let mechanism = Mechanism::from_number(mechanism).ok_or_else(|| format!("mechanism {mechanism} is unknown"))?;
        let bytes = hex::decode(wrapped).map_err(|error| format!("wrapped: {error}"))?;
        if !mechanism.fits(bytes.len()) {
            return Err(format!("{} bytes are no wrap by {mechanism}", bytes.len()));
        }
        let mut digest = [0; 32];
        hex::decode_to_slice(sha256, &mut digest).map_err(|error| format!("sha256: {error}"))?;
        Ok(Self {
            wrapped: Wrapped { mechanism, bytes },
            sha256: digest,
        })
    }
}

/// The file as it stands on the disk.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File<U, L> {
    api_version: String,
    #[serde(default)]
    upgraded: U,
    root_keys: L,
}

/// Reads what [`encode`] writes.
pub(super) fn decode(bytes: &[u8]) -> Result<Content, Flaw> {
    check_version(bytes, API_VERSION)?;
    let File {
        api_version: _,
        upgraded,
        root_keys,
    }: File<Vec<RootKeyName>, Vec<Line>> = serde_json::from_slice(bytes)?;
    Ok(Content { upgraded, root_keys })
}

/// The file's bytes.
pub(super) fn encode(content: &Content) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec_pretty(&File {
        api_version: API_VERSION.to_owned(),
        upgraded: &content.upgraded,
        root_keys: &content.root_keys,
    })
}
