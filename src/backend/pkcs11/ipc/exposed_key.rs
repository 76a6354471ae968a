//! Keys in messages, for `#[serde(with = "exposed_key")]`: the only way of a key into a frame, which is wiped.

use serde::Deserialize as _;
use serde::Deserializer;
use serde::Serializer;
use serde::de;
use serde::ser;

use crate::secret::Key;

/// Refuses formats that people read, such as JSON in a log line.
pub(super) fn serialize<S: Serializer>(key: &Key, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        return Err(ser::Error::custom("a key is never written as text"));
    }
    serializer.serialize_bytes(key.expose())
}

/// Copies the key out of the frame: no other copy is made.
pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Key, D::Error> {
    let bytes = <&[u8]>::deserialize(deserializer)?;
    Key::copied_from(bytes).ok_or_else(|| de::Error::invalid_length(bytes.len(), &"a key"))
}
