//! The proof record as bytes: an entry for each root key.
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
//!         {
//!           "id": "hexadecimal",
//!           "proofs": [{"mechanism": 1, "wrapped": "hexadecimal", "sha256": "64 hexadecimal digits"}],
//!           "begun": [{"mechanism": 3, "at": "2026-03-01T12:00:00Z"}]
//!         }
//!       ]
//!     }
//!   ]
//! }
//! ```

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;

use crate::clock::Timestamp;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::name::RootKeyName;
use crate::secret::Key;
use crate::token::state_file::StateFileFlaw;
use crate::token::state_file::check_version;

/// A proof that a token has not ended is tried again after this time.
const UNTIL_BEGUN_AGAIN: Duration = Duration::from_secs(24 * 3600);

pub(super) const API_VERSION: &str = "dekhand/proofs/v1";

/// The content of the record.
#[derive(Debug, Default)]
pub(super) struct ProofRecordContent {
    /// Root keys that an earlier release may have used on this node.
    pub(super) upgraded: Vec<RootKeyName>,
    pub(super) root_keys: Vec<ProofLine>,
}

/// The entry of a root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ProofLine {
    pub(super) name: RootKeyName,
    /// Versions that count although their objects are public.
    pub(crate) public: Vec<KeyId>,
    pub(super) versions: Vec<VersionLine>,
}

/// The entry of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VersionLine {
    pub(super) id: KeyId,
    pub(super) proofs: Vec<Proof>,
    /// Proofs that were begun and have not ended.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) begun: Vec<BegunProof>,
}

/// A proof that was begun and has not ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BegunProof {
    /// The number of the mechanism; an unknown one is another release's, and matches nothing.
    mechanism: u8,
    at: Timestamp,
}

/// A wrap that only one root key opens, with the hash that verifies the result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Written", into = "Written")]
pub(crate) struct Proof {
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

impl ProofLine {
    /// The proofs of a version; none if it was not used on this node.
    pub(crate) fn proofs(&self, id: &KeyId) -> &[Proof] {
        let version = self.versions.iter().find(|version| version.id == *id);
        version.map(|version| version.proofs.as_slice()).unwrap_or_default()
    }
}

impl ProofLine {
    /// Whether anything is written down of a version.
    pub(super) fn has(&self, id: &KeyId) -> bool {
        self.versions.iter().any(|version| version.id == *id)
    }

    /// Changes the line of a version, which is added if there is none, and dropped when nothing is left of it.
    pub(super) fn change<T>(&mut self, id: &KeyId, change: impl FnOnce(&mut VersionLine) -> T) -> T {
        if !self.has(id) {
            self.versions.push(VersionLine::of(id.clone()));
        }
        let known = self.versions.iter_mut().find(|version| version.id == *id);
        let done = change(known.unwrap_or(&mut VersionLine::of(id.clone())));
        self.versions.retain(|version| !version.is_empty());
        done
    }
}

impl VersionLine {
    fn of(id: KeyId) -> Self {
        let (proofs, begun) = (Vec::new(), Vec::new());
        Self { id, proofs, begun }
    }

    /// The first proof by a mechanism is kept.
    pub(super) fn add(&mut self, proof: Proof) {
        let mechanism = proof.mechanism();
        self.end(mechanism);
        if !self.proofs.iter().any(|known| known.mechanism() == mechanism) {
            self.proofs.push(proof);
        }
    }

    /// `None`: a proof by this mechanism begins now. Otherwise one was begun at that time, recently, and has not ended.
    pub(super) fn begin(&mut self, mechanism: Mechanism, now: Timestamp) -> Option<Timestamp> {
        let of_it = |begun: &&BegunProof| begun.mechanism == mechanism.number();
        // The clock may have been set back since.
        let is_recent = |at: &Timestamp| now.since(*at).max(at.since(now)) < UNTIL_BEGUN_AGAIN;
        let unended = self.begun.iter().find(of_it).map(|begun| begun.at);
        if let Some(at) = unended.filter(is_recent) {
            return Some(at);
        }
        self.end(mechanism);
        let mechanism = mechanism.number();
        self.begun.push(BegunProof { mechanism, at: now });
        None
    }

    pub(super) fn withdraw(&mut self, mechanism: Mechanism, noted: Timestamp) {
        let mechanism = mechanism.number();
        self.begun
            .retain(|begun| (begun.mechanism, begun.at) != (mechanism, noted));
    }

    pub(super) fn end(&mut self, mechanism: Mechanism) {
        self.begun.retain(|begun| begun.mechanism != mechanism.number());
    }

    fn is_empty(&self) -> bool {
        self.proofs.is_empty() && self.begun.is_empty()
    }
}

impl Proof {
    /// The proof of a key and its wrap.
    pub(crate) fn new(wrapped: Wrapped, key: &Key) -> Self {
        let sha256 = Sha256::digest(key.expose()).into();
        Self { wrapped, sha256 }
    }

    pub(crate) fn mechanism(&self) -> Mechanism {
        self.wrapped.mechanism
    }

    pub(crate) fn wrapped(&self) -> &Wrapped {
        &self.wrapped
    }

    /// Whether the wrap was of this key.
    pub(crate) fn is_of(&self, key: &Key) -> bool {
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
            return Err(format!("{} bytes cannot be a wrap by {mechanism}", bytes.len()));
        }
        let mut digest = [0; 32];
        hex::decode_to_slice(sha256, &mut digest).map_err(|error| format!("sha256: {error}"))?;
        Ok(Self {
            wrapped: Wrapped { mechanism, bytes },
            sha256: digest,
        })
    }
}

/// The file's format.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File<U, L> {
    api_version: String,
    #[serde(default)]
    upgraded: U,
    root_keys: L,
}

/// Reads what [`encode`] writes.
pub(super) fn decode(bytes: &[u8]) -> Result<ProofRecordContent, StateFileFlaw> {
    check_version(bytes, API_VERSION)?;
    let File {
        api_version: _,
        upgraded,
        root_keys,
    }: File<Vec<RootKeyName>, Vec<ProofLine>> = serde_json::from_slice(bytes)?;
    Ok(ProofRecordContent { upgraded, root_keys })
}

/// The file's bytes.
pub(super) fn encode(content: &ProofRecordContent) -> serde_json::Result<Vec<u8>> {
    serde_json::to_vec_pretty(&File {
        api_version: API_VERSION.to_owned(),
        upgraded: &content.upgraded,
        root_keys: &content.root_keys,
    })
}
