//! An object that may be a version of the root key, as it was read, without a token behind it.

use cryptoki::object::KeyType;

use crate::root_key::id::KeyId;
use crate::root_key::id::LONGEST;
use crate::root_key::id::SHORTEST;
use crate::token::attribute::Bytes;

/// What was read of an object.
#[derive(Clone, Debug)]
pub(super) struct Candidate {
    pub(super) label: Bytes,
    pub(super) id: Bytes,
    /// Whether the token says that it is a private object.
    pub(super) private: bool,
    pub(super) makeup: Makeup,
}

/// What never changes about an object.
#[derive(Clone, Copy, Debug)]
pub(super) struct Makeup {
    pub(super) class: Class,
    /// `None` if the token does not say.
    pub(super) key_type: Option<KeyType>,
    /// Bytes of a secret key, if the token says.
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
    /// The id, if it is one.
    pub(super) fn id(&self) -> Option<KeyId> {
        self.id.as_deref().and_then(|id| KeyId::try_from(id).ok())
    }

    /// The label, if it is text.
    pub(super) fn label(&self) -> Option<&str> {
        self.label.as_deref().and_then(|label| std::str::from_utf8(label).ok())
    }

    /// The label for messages: a token may hold anything.
    pub(super) fn shown(&self) -> String {
        match &self.label {
            Bytes::Some(label) if !label.is_empty() => quoted(label),
            Bytes::Some(_) | Bytes::None => "an object without a label".to_owned(),
            Bytes::TooLong(length) => format!("an object with a label of {length} bytes"),
        }
    }

    /// The id of an object that can be a root key, or why it can't be one.
    pub(super) fn usable(&self) -> Result<KeyId, String> {
        let Makeup {
            class,
            key_type,
            length,
        } = self.makeup;
        match (class, key_type) {
            (Class::Secret, Some(key_type)) if key_type != KeyType::AES => {
                return Err("it is no AES key".to_owned());
            }
            (Class::Private, Some(key_type)) if key_type != KeyType::RSA => {
                return Err("it is no RSA key".to_owned());
            }
            _ => {}
        }
        if let Some(length) = length.filter(|length| *length != 32) {
            let bits = length.saturating_mul(8);
            return Err(format!("it has {bits} bits, and a root key is AES with 256"));
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

/// Bytes of a token as a message can quote them.
pub(super) fn quoted(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    format!(
        "`{}`",
        text.chars().take(80).flat_map(char::escape_debug).collect::<String>()
    )
}
