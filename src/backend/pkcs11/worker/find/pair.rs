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
            let with_id = [Attribute::Id(id.as_bytes().to_vec())];
            let wraps = match search::objects(session, ObjectClass::PUBLIC_KEY, &with_id, &|| true)?.as_slice() {
                [public] => *public,
                [] => return Err(refused(id, "has no public key with the same CKA_ID")),
                [_, _, ..] => return Err(refused(id, "has more than one public key with the same CKA_ID")),
            };
            let kind = kind(session, id, wraps, handle)?;
            Ok(KeyObject {
                kind,
                wraps,
                unwraps: handle,
            })
        }
    }
}

fn kind(session: &Session, id: &KeyId, public: ObjectHandle, private: ObjectHandle) -> Result<KeyKind, TokenError> {
    let (public_modulus, private_modulus) = (modulus(session, public)?, modulus(session, private)?);
    if let (Some(public), Some(private)) = (&public_modulus, &private_modulus)
        && public != private
    {
        return Err(refused(id, "has a public key that is not its own"));
    }
    let told = attribute::number(session, public, AttributeType::ModulusBits);
    let bits = told.or_else(|| public_modulus.or(private_modulus).as_deref().map(bits_of));
    match bits {
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

/// The modulus without leading zeros.
fn modulus(session: &Session, object: ObjectHandle) -> Result<Option<Vec<u8>>, TokenError> {
    let bytes = attribute::bytes(session, object, AttributeType::Modulus, LONGEST_MODULUS)?;
    Ok(bytes.as_deref().and_then(|bytes| {
        let first = bytes.iter().position(|byte| *byte != 0)?;
        bytes.get(first..).map(<[u8]>::to_vec)
    }))
}

fn bits_of(modulus: &[u8]) -> u64 {
    let zeros = modulus.first().map_or(0, |first| u64::from(first.leading_zeros()));
    u64::try_from(modulus.len()).unwrap_or_default() * 8 - zeros
}
