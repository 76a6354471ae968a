//! An object that may be a version of the root key, with its attributes and without a token.

use cryptoki::object::KeyType;

use crate::root_key::id::KeyId;
use crate::root_key::id::LONGEST;
use crate::root_key::id::SHORTEST;
use crate::token::attribute::Bytes;

/// The attributes of an object.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) label: Bytes,
    pub(super) id: Bytes,
    /// Whether the token reports it as private.
    pub(super) private: bool,
    pub(super) makeup: Makeup,
}

/// The attributes that never change.
#[derive(Clone, Copy, Debug)]
pub(super) struct Makeup {
    pub(super) class: Class,
    /// `None` if the token does not give it.
    pub(super) key_type: Option<KeyType>,
    /// Bytes of a secret key, if the token gives them.
    pub(super) length: Option<u64>,
}

/// The classes of objects that can unwrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Class {
    /// `CKO_SECRET_KEY`
    Secret,
    /// `CKO_PRIVATE_KEY`
    Private,
}

impl Candidate {
    /// The id, if the bytes are one.
    pub(super) fn id(&self) -> Option<KeyId> {
        self.id.as_deref().and_then(|id| KeyId::try_from(id).ok())
    }

    /// The label, if the bytes are text.
    pub(super) fn label(&self) -> Option<&str> {
        self.label.as_deref().and_then(|label| std::str::from_utf8(label).ok())
    }

    /// The label for messages: it may contain any bytes.
    pub(super) fn shown(&self) -> String {
        match &self.label {
            Bytes::Some(label) if !label.is_empty() => quoted(label),
            Bytes::Some(_) | Bytes::None => "an object without a label".to_owned(),
            Bytes::TooLong(length) => format!("an object with a label of {length} bytes"),
        }
    }

    /// The id of an object that can be a root key, or the reason why it cannot be one.
    pub(super) fn usable(&self) -> Result<KeyId, String> {
        let Makeup {
            class,
            key_type,
            length,
        } = self.makeup;
        match (class, key_type) {
            (Class::Secret, Some(key_type)) if key_type != KeyType::AES => {
                return Err("it is not an AES key".to_owned());
            }
            (Class::Private, Some(key_type)) if key_type != KeyType::RSA => {
                return Err("it is not an RSA key".to_owned());
            }
            _ => {}
        }
        if let Some(length) = length.filter(|length| *length != 32) {
            let bits = length.saturating_mul(8);
            return Err(format!("it has {bits} bits, and an AES root key has 256"));
        }
        self.id().ok_or_else(|| {
            let bytes = match &self.id {
                Bytes::None => 0,
                Bytes::TooLong(length) => *length,
                Bytes::Some(id) => id.len(),
            };
            format!("its CKA_ID has {bytes} bytes, and an id has {SHORTEST} to {LONGEST}")
        })
    }
}

/// Bytes from a token, quoted for a message.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    format!(
        "`{}`",
        text.chars().take(80).flat_map(char::escape_debug).collect::<String>()
    )
}
