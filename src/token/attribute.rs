//! Attributes of objects, read one at a time: a token that lacks one of several requested attributes may refuse them
//! all.
//!
//! The length is requested first. That bounds the read. It also separates an attribute that the token lacks from one
//! that is zero, because some modules leave the caller's buffer unchanged for both.

use cryptoki::object::Attribute;
use cryptoki::object::AttributeInfo;
use cryptoki::object::AttributeType;
use cryptoki::object::KeyType;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use crate::token::error::TokenError;
use crate::token::return_value::Remedy;
use crate::token::return_value::ReturnValue;

/// An attribute of bytes, which the object may lack.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Bytes {
    /// The token does not have the attribute, or does not disclose it.
    None,
    /// Too long to read: its length in bytes.
    TooLong(usize),
    /// Its value.
    Some(Vec<u8>),
}

impl Bytes {
    /// The bytes, if they were read.
    pub(crate) fn as_deref(&self) -> Option<&[u8]> {
        match self {
            Self::Some(bytes) => Some(bytes),
            Self::None | Self::TooLong(_) => None,
        }
    }
}

/// Reads a label, an id or another public attribute of at most `most` bytes.
///
/// # Errors
/// The token fails, or the object is gone: `CKR_OBJECT_HANDLE_INVALID`.
pub(crate) fn bytes(
    session: &Session,
    object: ObjectHandle,
    attribute: AttributeType,
    most: usize,
) -> Result<Bytes, TokenError> {
    match length(session, object, attribute)? {
        None => Ok(Bytes::None),
        Some(0) => Ok(Bytes::Some(Vec::new())),
        Some(length) if length > most => Ok(Bytes::TooLong(length)),
        Some(_) => Ok(match value(session, object, attribute)? {
            Some(
                Attribute::Label(bytes)
                | Attribute::Id(bytes)
                | Attribute::Modulus(bytes)
                | Attribute::PublicExponent(bytes),
            ) => Bytes::Some(bytes),
            _ => Bytes::None,
        }),
    }
}

/// Reads a boolean; `None` if the token does not give it, for whatever reason.
pub(crate) fn flag(session: &Session, object: ObjectHandle, attribute: AttributeType) -> Option<bool> {
    match tolerated(session, object, attribute, size_of::<u8>())? {
        Attribute::AlwaysAuthenticate(flag)
        | Attribute::AlwaysSensitive(flag)
        | Attribute::Decrypt(flag)
        | Attribute::Derive(flag)
        | Attribute::Encrypt(flag)
        | Attribute::Extractable(flag)
        | Attribute::Local(flag)
        | Attribute::NeverExtractable(flag)
        | Attribute::Private(flag)
        | Attribute::Sensitive(flag)
        | Attribute::Sign(flag)
        | Attribute::Token(flag)
        | Attribute::Unwrap(flag)
        | Attribute::Verify(flag)
        | Attribute::Wrap(flag) => Some(flag),
        _ => None,
    }
}

/// Whether an object is private. An object whose attribute cannot be read counts as public; an outage is an error.
///
/// # Errors
/// The token fails, or the object is gone.
pub(crate) fn is_private(session: &Session, object: ObjectHandle) -> Result<bool, TokenError> {
    let read = match length(session, object, AttributeType::Private) {
        Ok(Some(length)) if length == size_of::<u8>() => value(session, object, AttributeType::Private),
        Ok(_) => Ok(None),
        Err(error) => Err(error),
    };
    match read {
        Ok(read) => Ok(read == Some(Attribute::Private(true))),
        Err(error)
            if error.remedy() == Remedy::Nothing
                || matches!(
                    error.value(),
                    Some(ReturnValue::ATTRIBUTE_SENSITIVE | ReturnValue::ATTRIBUTE_TYPE_INVALID)
                ) =>
        {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// Reads a length or a number of bits; `None` if the token does not give it, for whatever reason.
pub(crate) fn number(session: &Session, object: ObjectHandle, attribute: AttributeType) -> Option<u64> {
    match tolerated(session, object, attribute, ULONG)? {
        Attribute::ValueLen(number) | Attribute::ModulusBits(number) => Some(*number),
        _ => None,
    }
}

/// Reads a key's type; `None` if the token does not give it, or gives an unknown one.
pub(crate) fn key_type(session: &Session, object: ObjectHandle) -> Option<KeyType> {
    match tolerated(session, object, AttributeType::KeyType, ULONG)? {
        Attribute::KeyType(key_type) => Some(key_type),
        _ => None,
    }
}

const ULONG: usize = size_of::<cryptoki_sys::CK_ULONG>();

fn tolerated(session: &Session, object: ObjectHandle, attribute: AttributeType, size: usize) -> Option<Attribute> {
    match length(session, object, attribute) {
        Ok(Some(length)) if length == size => value(session, object, attribute).ok().flatten(),
        _ => None,
    }
}

fn length(session: &Session, object: ObjectHandle, attribute: AttributeType) -> Result<Option<usize>, TokenError> {
    let info = session.get_attribute_info(object, &[attribute])?;
    Ok(match info.first() {
        Some(AttributeInfo::Available(length)) => Some(*length),
        _ => None,
    })
}

fn value(session: &Session, object: ObjectHandle, attribute: AttributeType) -> Result<Option<Attribute>, TokenError> {
    Ok(session.get_attributes(object, &[attribute])?.into_iter().next())
}
