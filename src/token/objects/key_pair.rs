//! The objects of one version: one AES key, or an RSA private key and the public key with the same id.

use cryptoki::object::Attribute;
use cryptoki::object::AttributeType;
use cryptoki::object::ObjectClass;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;

use crate::root_key::id::KeyId;
use crate::token::attribute;
use crate::token::error::TokenError;
use crate::token::key_object::KeyKind;
use crate::token::key_object::KeyObject;
use crate::token::objects::candidate::Class;
use crate::token::objects::search;
use crate::token::objects::search::FoundKey;

/// The bits of an RSA root key's modulus.
const MODULUS: std::ops::RangeInclusive<u64> = 2048..=4096;
/// Bytes of the longest modulus, with a leading zero.
const LONGEST_MODULUS: usize = 4096 / 8 + 1;

/// The most public keys that are read in one search: other users of the token can make any number.
const MOST_HALVES: usize = 100;

/// The objects of the version whose secret or private key is at `place`. An RSA key without its public half can only
/// unwrap.
pub(super) fn of(
    session: &Session,
    id: &KeyId,
    place: FoundKey,
    heartbeat: &dyn Fn() -> bool,
) -> Result<KeyObject, TokenError> {
    let FoundKey { class, handle } = place;
    match class {
        Class::Secret => Ok(KeyObject {
            kind: KeyKind::Aes256,
            wraps: handle,
            unwraps: handle,
        }),
        Class::Private => {
            let half = public_half(session, id, handle, heartbeat)?;
            let kind = kind(session, id, half.unwrap_or(handle), handle)?;
            Ok(KeyObject {
                kind,
                wraps: half.unwrap_or(handle),
                unwraps: handle,
            })
        }
    }
}

/// The public key with the same id and the private key's modulus, if the token has it. Other users of the token can put
/// any number of public keys beside it, so the search names the modulus.
fn public_half(
    session: &Session,
    id: &KeyId,
    private: ObjectHandle,
    heartbeat: &dyn Fn() -> bool,
) -> Result<Option<ObjectHandle>, TokenError> {
    let search = |with: &[Attribute]| search::first(session, ObjectClass::PUBLIC_KEY, with, MOST_HALVES);
    let with_id = Attribute::Id(id.as_bytes().to_vec());
    let told = attribute::bytes(session, private, AttributeType::Modulus, LONGEST_MODULUS)?;
    let Some(of_private) = told.as_deref().and_then(without_zeros) else {
        return match search(&[with_id])?.as_slice() {
            [] => Ok(None),
            // Safe without a comparison: each wrap is unwrapped again before anything depends on it.
            [only] => Ok(Some(*only)),
            _ => Err(refused(
                id,
                "does not disclose its modulus, and the token has more than one public key with the same CKA_ID",
            )),
        };
    };
    let exponent = attribute::bytes(session, private, AttributeType::PublicExponent, LONGEST_MODULUS)?;
    let is_half = |public: ObjectHandle| -> Result<bool, TokenError> {
        if modulus(session, public)?.as_ref() != Some(&of_private) {
            return Ok(false);
        }
        let told = integer(session, public, AttributeType::PublicExponent)?;
        let exponent = exponent.as_deref().and_then(without_zeros);
        Ok(exponent.is_none() || told.is_none() || told == exponent)
    };
    let mut own = vec![with_id.clone()];
    own.extend(told.as_deref().map(|bytes| Attribute::Modulus(bytes.to_vec())));
    let with_modulus = own.clone();
    own.extend(
        exponent
            .as_deref()
            .map(|bytes| Attribute::PublicExponent(bytes.to_vec())),
    );
    let encrypts = [own.clone(), vec![Attribute::Encrypt(true)]].concat();
    // A module may ignore a part of the template, or encode a number in another way.
    let mut other = None;
    for with in [encrypts, own, with_modulus, vec![with_id]] {
        for public in search(&with)? {
            heartbeat();
            if search::unless_gone(is_half(public))? != Some(true) {
                continue;
            }
            // If a public key has several objects, one that may encrypt.
            if attribute::flag(session, public, AttributeType::Encrypt) != Some(false) {
                return Ok(Some(public));
            }
            other.get_or_insert(public);
        }
    }
    Ok(other)
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
        None => Err(refused(id, "does not disclose the length of its modulus")),
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
    Ok(bytes.as_deref().and_then(without_zeros))
}

fn without_zeros(bytes: &[u8]) -> Option<Vec<u8>> {
    let first = bytes.iter().position(|byte| *byte != 0)?;
    bytes.get(first..).map(<[u8]>::to_vec)
}

fn bits_of(modulus: &[u8]) -> u64 {
    let zeros = modulus.first().map_or(0, |first| u64::from(first.leading_zeros()));
    u64::try_from(modulus.len()).unwrap_or_default() * 8 - zeros
}
