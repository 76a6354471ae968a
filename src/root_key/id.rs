//! The permanent id of a root-key version: 8 to 32 bytes.

use std::cmp::Ordering;
use std::fmt;
use std::hash::Hash;
use std::hash::Hasher;
use std::str::FromStr;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;
use sha2::Digest as _;
use sha2::Sha256;

use crate::secret::NoRandomness;
use crate::secret::random_bytes;

/// An id; its hex form is the `key_id` of kube-apiserver. Ids have the order of their bytes.
#[derive(Clone)]
pub struct KeyId {
    length: u8,
    bytes: [u8; LONGEST],
}

/// The length of the shortest id, in bytes.
pub const SHORTEST: usize = 8;
/// The length of the longest id, in bytes.
pub const LONGEST: usize = 32;

/// The bytes or the text are not an id.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("an id has {SHORTEST} to {LONGEST} bytes, written as {} to {} hexadecimal digits", 2 * SHORTEST, 2 * LONGEST)]
pub struct NotAnId;

impl KeyId {
    /// An id of 16 random bytes, for a key that dekhand makes.
    ///
    /// # Errors
    /// The operating system has no randomness.
    pub fn random() -> Result<Self, NoRandomness> {
        Ok(Self::of(&random_bytes::<16>()?))
    }

    /// `bytes` must have at most [`LONGEST`] bytes; more would be cut off.
    fn of(bytes: &[u8]) -> Self {
        let mut id = Self {
            length: 0,
            bytes: [0; LONGEST],
        };
        for (place, byte) in id.bytes.iter_mut().zip(bytes) {
            *place = *byte;
            id.length += 1;
        }
        id
    }

    /// The raw bytes.
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.length)).unwrap_or_default()
    }

    /// Whether `text` is this id as `key_id`, in lower-case hexadecimal.
    pub fn is_written(&self, text: &str) -> bool {
        let mut digits = [0; 2 * LONGEST];
        let Some(digits) = digits.get_mut(..2 * usize::from(self.length)) else {
            return false;
        };
        hex::encode_to_slice(self.as_bytes(), digits).is_ok() && text.as_bytes() == digits
    }
}

impl PartialEq for KeyId {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for KeyId {}

impl PartialOrd for KeyId {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for KeyId {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_bytes().cmp(other.as_bytes())
    }
}

impl Hash for KeyId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_bytes().hash(state);
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
            Ok(Self::of(bytes))
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
        f.write_str(&hex::encode(self.as_bytes()))
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Hexadecimal in files, bytes between processes.
impl Serialize for KeyId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.collect_str(self)
        } else {
            serializer.serialize_bytes(self.as_bytes())
        }
    }
}

impl<'de> Deserialize<'de> for KeyId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
            text.parse().map_err(serde::de::Error::custom)
        } else {
            let bytes = <&[u8]>::deserialize(deserializer)?;
            bytes.try_into().map_err(serde::de::Error::custom)
        }
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
    fn ids_are_ordered_as_their_bytes_are() {
        let [short, long] = [[9; 8].as_slice(), [1; 32].as_slice()].map(|bytes| KeyId::try_from(bytes).unwrap());
        assert!(long < short);
    }

    #[test]
    fn an_id_reads_back_from_its_hex() {
        let id = KeyId::random().unwrap();
        assert_eq!(id.to_string().parse::<KeyId>().unwrap(), id);
        assert!(id.is_written(&id.to_string()));
        assert!(!id.is_written(&id.to_string().replace('0', "O")) || !id.to_string().contains('0'));
        assert!(!id.is_written("") && !id.is_written(&format!("{id}00")));
        assert_eq!("not hex, not an id".parse::<KeyId>(), Err(NotAnId));
    }
}
