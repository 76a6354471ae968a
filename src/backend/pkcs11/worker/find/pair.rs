//! The objects of one version: an AES key is its own pair, an RSA private key has a public key with the same id.

use cryptoki::object::Attribute;
use cryptoki::object::AttributeType;
use cryptoki::object::ObjectClass;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use crate::backend::pkcs11::worker::attribute;
use crate::backend::pkcs11::worker::error::TokenError;
use crate::backend::pkcs11::worker::find::candidate::Class;
use crate::backend::pkcs11::worker::find::search;
use crate::backend::pkcs11::worker::find::search::Place;
use crate::backend::pkcs11::worker::key_object::KeyKind;
use crate::backend::pkcs11::worker::key_object::KeyObject;
use crate::root_key::id::KeyId;

/// Bits of an RSA root key's modulus.
const MODULUS: std::ops::RangeInclusive<u64> = 2048..=4096;
/// Bytes of the longest modulus, and a leading zero.
const LONGEST_MODULUS: usize = 4096 / 8 + 1;

/// The objects of the version whose secret or private key is at `place`.
pub(super) fn of(session: &Session, id: &KeyId, place: Place) -> Result<KeyObject, TokenError> {
    let Place { class, handle } = place;
    match class {
        Class::Secret => Ok(KeyObject {
            kind: KeyKind::Aes256,
            wraps: handle,
            unwraps: handle,
        }),
        Class::Private => {
            let wraps = public_half(session, id, handle)?;
            let kind = kind(session, id, wraps, handle)?;
            Ok(KeyObject {
                kind,
                wraps,
                unwraps: handle,
            })
        }
    }
}

/// The public key of the same id that has the private key's modulus. Anybody can put others beside it: they are none.
fn public_half(session: &Session, id: &KeyId, private: ObjectHandle) -> Result<ObjectHandle, TokenError> {
    let with_id = [Attribute::Id(id.as_bytes().to_vec())];
    let mut found = search::objects(session, ObjectClass::PUBLIC_KEY, &with_id, &|| true)?;
    if found.is_empty() {
        return Err(refused(id, "has no public key with the same CKA_ID"));
    }
    let Some(of_private) = modulus(session, private)? else {
        return match found.as_slice() {
            // What it wraps is unwrapped again before anything depends on it.
            [only] => Ok(*only),
            _ => Err(refused(
                id,
                "does not tell its modulus, and the token has more than one public key with the same CKA_ID",
            )),
        };
    };
    let exponent = integer(session, private, AttributeType::PublicExponent)?;
    let is_half = |public: ObjectHandle| -> Result<bool, TokenError> {
        let told = integer(session, public, AttributeType::PublicExponent)?;
        let exponents_differ = exponent.is_some() && told.is_some() && told != exponent;
        Ok(!exponents_differ && modulus(session, public)?.as_ref() == Some(&of_private))
    };
    let mut halves = Vec::new();
    for public in found.drain(..) {
        if is_half(public)? {
            halves.push(public);
        }
    }
    // Of several objects of one public key, one that may encrypt.
    let encrypts = |public: &&ObjectHandle| attribute::flag(session, **public, AttributeType::Encrypt) != Some(false);
    let half = halves.iter().find(encrypts).or(halves.first());
    half.copied().ok_or_else(|| {
        refused(
            id,
            "has no public key of its own: those with the same CKA_ID have another modulus",
        )
    })
}

fn kind(session: &Session, id: &KeyId, public: ObjectHandle, private: ObjectHandle) -> Result<KeyKind, TokenError> {
    let of = modulus(session, private)?.or(modulus(session, public)?);
    let bits = of.as_deref().map(bits_of);
    match bits.or_else(|| attribute::number(session, public, AttributeType::ModulusBits)) {
        Some(bits) if MODULUS.contains(&bits) => Ok(KeyKind::Rsa {
            bits: u32::try_from(bits).unwrap_or_default(),
        }),
        Some(bits) => Err(refused(
            id,
            &format!(
                "has {bits} bits, and an RSA root key has {} to {}",
                MODULUS.start(),
                MODULUS.end()
            ),
        )),
        None => Err(refused(id, "does not say how long its modulus is")),
    }
}

fn refused(id: &KeyId, why: &str) -> TokenError {
    TokenError::Refused(format!("the RSA key with id {id} {why}"))
}

fn modulus(session: &Session, object: ObjectHandle) -> Result<Option<Vec<u8>>, TokenError> {
    integer(session, object, AttributeType::Modulus)
}

/// A large number without leading zeros.
fn integer(session: &Session, object: ObjectHandle, attribute: AttributeType) -> Result<Option<Vec<u8>>, TokenError> {
    let bytes = attribute::bytes(session, object, attribute, LONGEST_MODULUS)?;
    Ok(bytes.as_deref().and_then(|bytes| {
        let first = bytes.iter().position(|byte| *byte != 0)?;
        bytes.get(first..).map(<[u8]>::to_vec)
    }))
}

fn bits_of(modulus: &[u8]) -> u64 {
    let zeros = modulus.first().map_or(0, |first| u64::from(first.leading_zeros()));
    u64::try_from(modulus.len()).unwrap_or_default() * 8 - zeros
}
