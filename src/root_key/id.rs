//! The id of a root-key version: 8 to 32 bytes that name it for ever.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use sha2::Digest as _;
use sha2::Sha256;

use crate::secret::NoRandomness;
use crate::secret::random_bytes;

/// An id; its hex form is the `key_id` of kube-apiserver.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(Box<[u8]>);

/// Fewest bytes of an id.
pub const SHORTEST: usize = 8;
/// Most bytes of an id.
pub const LONGEST: usize = 32;

/// Some bytes are no id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id is {SHORTEST} to {LONGEST} bytes, as hex {} to {} digits", 2 * SHORTEST, 2 * LONGEST)]
pub struct NotAnId;

impl KeyId {
    /// An id of 16 random bytes, for a key that dekhand makes.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub fn random() -> Result<Self, NoRandomness> {
        Ok(Self(Box::new(random_bytes::<16>()?)))
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// The hash by which kube-apiserver's envelope metrics name a `key_id`: `sha256:` and 64 hexadecimal digits.
pub fn key_id_hash(key_id: &str) -> String {
    format!("sha256:{}", hex::encode(Sha256::digest(key_id)))
}

impl TryFrom<&[u8]> for KeyId {
    type Error = NotAnId;

    fn try_from(bytes: &[u8]) -> Result<Self, NotAnId> {
        if (SHORTEST..=LONGEST).contains(&bytes.len()) {
            Ok(Self(bytes.into()))
        } else {
            Err(NotAnId)
        }
    }
}

impl FromStr for KeyId {
    type Err = NotAnId;

    fn from_str(text: &str) -> Result<Self, NotAnId> {
        hex::decode(text).map_err(|_| NotAnId)?.as_slice().try_into()
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_8_to_32_bytes() {
        assert!(KeyId::try_from([0; 7].as_slice()).is_err());
        assert!(KeyId::try_from([0; 8].as_slice()).is_ok());
        assert!(KeyId::try_from([0; 32].as_slice()).is_ok());
        assert!(KeyId::try_from([0; 33].as_slice()).is_err());
    }

    #[test]
    fn an_id_reads_back_from_its_hex() {
        let id = KeyId::random().unwrap();
        assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
        assert_eq!("not hex, not an id".parse::<KeyId>(), Err(NotAnId));
    }
}
