//! Proof that two nodes hold the same key: a throwaway key, wrapped on one, unwrapped on the other.

use serde::Deserialize;
use serde::Serialize;
use sha2::Digest as _;
use sha2::Sha256;
use subtle::ConstantTimeEq as _;

use crate::clock::Timestamp;
use crate::root_key::RootKey;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::name::RootKeyName;
use crate::root_key::rotation::find;
use crate::root_key::rotation::refusal::Refusal;
use crate::root_key::version::Number;
use crate::root_key::version::Selector;
use crate::root_key::version::Version;
use crate::root_key::waiters::Waiters;
use crate::secret::Key;
use crate::secret::NoRandomness;

const API_VERSION: &str = "dekhand/verify/v1";
/// Before the key in the hash of the record's `check`.
const DOMAIN: &[u8] = b"dekhand/1/verify";

/// The record that one node gives to the others. It holds no secret: its key seals nothing and is thrown away.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    #[serde(rename = "apiVersion")]
    api_version: String,
    root_key: RootKeyName,
    number: Number,
    id: KeyId,
    mechanism: u8,
    wrapped: String,
    check: String,
}

/// A node's key could not be verified.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// The rules forbid it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] Error),
    /// There is no key to throw away.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The input is not a record.
    #[error("this is not a record of `dekhand keys verify --record`: {0}")]
    NoRecord(&'static str),
    /// The record is of another root key.
    #[error("the record is of the root key `{found}`, not of `{wanted}`")]
    OtherRootKey {
        /// The root key of the record.
        found: RootKeyName,
        /// The root key of this node.
        wanted: RootKeyName,
    },
    /// This node does not have the version.
    #[error("this node does not have {number} (id {id}): bring the version here first")]
    Missing {
        /// The number of the record's version.
        number: Number,
        /// The id of the record's version.
        id: KeyId,
    },
    /// The version has another number on this node.
    #[error("the version with id {id} is {recorded} in the record and {here} on this node")]
    OtherNumber {
        /// The version.
        id: KeyId,
        /// Its number in the record.
        recorded: Number,
        /// Its number here.
        here: Number,
    },
    /// The keys differ.
    #[error(
        "this node's {number} (id {id}) is ANOTHER KEY than the one that made the record: the other nodes could not \
         read what this node writes; do not activate it"
    )]
    OtherKey {
        /// The number of the version.
        number: Number,
        /// The id of the version.
        id: KeyId,
    },
}

impl Record {
    /// Reads a record.
    ///
    /// # Errors
    /// The bytes are not a record.
    pub fn parse(bytes: &[u8]) -> Result<Self, VerifyError> {
        let record: Self = serde_json::from_slice(bytes).map_err(|_| VerifyError::NoRecord("its fields are wrong"))?;
        if record.api_version == API_VERSION {
            Ok(record)
        } else {
            Err(VerifyError::NoRecord("its apiVersion is not dekhand/verify/v1"))
        }
    }
}

/// Wraps a throwaway key under a version: the selected one, else the pending one, else the newest.
///
/// # Errors
/// There is no such version; or the store fails.
pub async fn record(
    root_key: &dyn RootKey,
    name: &RootKeyName,
    selector: Option<&Selector>,
    now: Timestamp,
) -> Result<Record, VerifyError> {
    let versions = root_key.discover().await?;
    let version = match selector {
        Some(selector) => find(&versions, selector)?,
        None => default_version(&versions, now).ok_or_else(|| Refusal::HasNone { name: name.clone() })?,
    };
    let key = Key::random()?;
    let Wrapped { mechanism, bytes } = root_key.wrap(&version.id, &key, &Waiters::of_daemon()).await?;
    Ok(Record {
        api_version: API_VERSION.into(),
        root_key: name.clone(),
        number: version.number,
        id: version.id.clone(),
        mechanism: mechanism.number(),
        wrapped: hex::encode(bytes),
        check: hex::encode(check(&key)),
    })
}

fn default_version(versions: &[Version], now: Timestamp) -> Option<&Version> {
    let usable = || versions.iter().filter(|version| version.state.decrypts());
    let pending = usable().filter(|version| version.state.is_pending(now));
    let highest = |one: &&Version, other: &&Version| one.rank().cmp(&other.rank());
    pending.max_by(highest).or_else(|| usable().max_by(highest))
}

/// Unwraps the key of a record made on another node. Returns the version that is proven to be the same on both.
///
/// # Errors
/// This node does not have the version, or holds another key; or the store fails.
pub async fn against(root_key: &dyn RootKey, name: &RootKeyName, record: &Record) -> Result<Version, VerifyError> {
    let Record {
        api_version: _,
        root_key: found,
        number,
        id,
        mechanism,
        wrapped,
        check: expected,
    } = record;
    if found != name {
        return Err(VerifyError::OtherRootKey {
            found: found.clone(),
            wanted: name.clone(),
        });
    }
    let mechanism = Mechanism::from_number(*mechanism).ok_or(VerifyError::NoRecord("an unknown mechanism"))?;
    let bytes = hex::decode(wrapped).map_err(|_| VerifyError::NoRecord("`wrapped` is not hexadecimal"))?;
    let expected = hex::decode(expected).map_err(|_| VerifyError::NoRecord("`check` is not hexadecimal"))?;
    if !mechanism.fits(bytes.len()) {
        return Err(VerifyError::NoRecord("`wrapped` does not have the mechanism's length"));
    }
    let versions = root_key.discover().await?;
    let version = versions.into_iter().find(|version| version.id == *id);
    let version = version.ok_or_else(|| VerifyError::Missing {
        number: *number,
        id: id.clone(),
    })?;
    if version.number != *number {
        return Err(VerifyError::OtherNumber {
            id: version.id,
            recorded: *number,
            here: version.number,
        });
    }
    let opened = root_key
        .unwrap(&version.id, &Wrapped { mechanism, bytes }, &Waiters::of_daemon())
        .await;
    let same = match &opened {
        // If the wrap is not authenticated, a wrong key yields other bytes instead of an error.
        Ok(key) => check(key).ct_eq(expected.as_slice()).into(),
        Err(error) if error.kind() == Kind::BadInput => false,
        Err(error) => return Err(VerifyError::Store(error.clone())),
    };
    if same {
        Ok(version)
    } else {
        let Version { number, id, .. } = version;
        Err(VerifyError::OtherKey { number, id })
    }
}

fn check(key: &Key) -> [u8; 32] {
    Sha256::new_with_prefix(DOMAIN)
        .chain_update(key.expose())
        .finalize()
        .into()
}

#[cfg(test)]
mod tests;
