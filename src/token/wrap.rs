//! The methods to wrap a data key in a token. Each defines the layout in the sealed format, and checks the token's
//! result.

mod cbc;
mod cipher;
#[cfg(test)]
mod fake;
mod gcm;
mod kwp;
mod oaep;
#[cfg(test)]
mod on_tokens;
pub(crate) mod select;
mod self_test;

use cryptoki::session::Session;

use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::secret::random_bytes;
use crate::token::error::TokenError;
use crate::token::key_object::KeyKind;
use crate::token::key_object::KeyObject;
use crate::token::module::Module;
use crate::token::options::MechanismChoice;
use crate::token::params::OaepHash;
use crate::token::return_value::ReturnValue;
use crate::token::wrap::cipher::InSession;
use crate::token::wrap::cipher::TokenCipher;

pub(crate) use crate::token::wrap::gcm::IvMode;

/// A wrap method. The trial at the start chooses one for a token and its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WrapMethod {
    /// AES-GCM, with an IV of this source.
    AesGcm(IvMode),
    /// AES key wrap with padding (RFC 5649).
    AesKwp,
    /// AES-CBC without padding. It has no integrity protection, so the envelope commits to the data key.
    AesCbc,
    /// RSA-OAEP with SHA-256. Anyone with the public key can wrap, so the envelope commits to the data key.
    RsaOaepSha256,
    /// RSA-OAEP with SHA-1. As above.
    RsaOaepSha1,
}

impl WrapMethod {
    /// Wraps a data key under a version.
    pub(crate) fn wrap(
        self,
        module: &Module,
        session: &Session,
        key: &KeyObject,
        id: &KeyId,
        data_key: &Key,
    ) -> Result<Wrapped, TokenError> {
        self.wrap_with(&InSession::new(module.calls(), session, *key), id, data_key)
    }

    fn wrap_with(self, cipher: &dyn TokenCipher, id: &KeyId, data_key: &Key) -> Result<Wrapped, TokenError> {
        let bytes = match self {
            Self::AesGcm(mode) => gcm::wrap(mode, cipher, id, data_key)?,
            Self::AesKwp => kwp::wrap(cipher, data_key)?,
            Self::AesCbc => cbc::wrap(cipher, data_key)?,
            Self::RsaOaepSha256 => oaep::wrap(OaepHash::Sha256, cipher, data_key)?,
            Self::RsaOaepSha1 => oaep::wrap(OaepHash::Sha1, cipher, data_key)?,
        };
        let mechanism = self.mechanism();
        if mechanism.fits(bytes.len()) {
            Ok(Wrapped { mechanism, bytes })
        } else {
            Err(wrong_length("a wrap", bytes.len()))
        }
    }

    /// The mechanism in a sealed payload.
    pub(crate) fn mechanism(self) -> Mechanism {
        match self {
            Self::AesGcm(mode) => mode.mechanism(),
            Self::AesKwp => Mechanism::AesKwp,
            Self::AesCbc => Mechanism::AesCbc,
            Self::RsaOaepSha256 => Mechanism::RsaOaepSha256,
            Self::RsaOaepSha1 => Mechanism::RsaOaepSha1,
        }
    }

    /// The name in the configuration.
    pub(crate) fn choice(self) -> MechanismChoice {
        match self {
            Self::AesGcm(_) => MechanismChoice::AesGcm,
            Self::AesKwp => MechanismChoice::AesKwp,
            Self::AesCbc => MechanismChoice::AesCbc,
            Self::RsaOaepSha256 => MechanismChoice::RsaOaepSha256,
            Self::RsaOaepSha1 => MechanismChoice::RsaOaepSha1,
        }
    }
}

/// Unwraps a data key, by the mechanism that wrapped it, whatever is chosen now: a token may change.
pub(crate) fn unwrap(
    module: &Module,
    session: &Session,
    key: &KeyObject,
    id: &KeyId,
    wrapped: &Wrapped,
) -> Result<Key, TokenError> {
    unwrap_with(&InSession::new(module.calls(), session, *key), id, wrapped)
}

fn unwrap_with(cipher: &dyn TokenCipher, id: &KeyId, wrapped: &Wrapped) -> Result<Key, TokenError> {
    let Wrapped { mechanism, bytes } = wrapped;
    let of_the_key = match mechanism {
        Mechanism::AesGcm | Mechanism::AesGcmTokenIv | Mechanism::AesKwp | Mechanism::AesCbc => {
            cipher.kind() == KeyKind::Aes256
        }
        Mechanism::RsaOaepSha256 | Mechanism::RsaOaepSha1 => matches!(cipher.kind(), KeyKind::Rsa { .. }),
    };
    if !of_the_key || !mechanism.fits(bytes.len()) {
        return Err(bad_ciphertext());
    }
    match mechanism {
        Mechanism::AesGcm | Mechanism::AesGcmTokenIv => gcm::unwrap(cipher, *mechanism, id, bytes),
        Mechanism::AesKwp => kwp::unwrap(cipher, bytes),
        Mechanism::AesCbc => cbc::unwrap(cipher, bytes),
        Mechanism::RsaOaepSha256 => oaep::unwrap(OaepHash::Sha256, cipher, bytes),
        Mechanism::RsaOaepSha1 => oaep::unwrap(OaepHash::Sha1, cipher, bytes),
    }
}

/// The error that a correct token returns for a wrapped key that cannot be this root key's. The token is not called.
fn bad_ciphertext() -> TokenError {
    TokenError::call("C_Decrypt", ReturnValue::ENCRYPTED_DATA_INVALID)
}

fn wrong_length(what: &str, length: usize) -> TokenError {
    TokenError::Misbehaved(format!("made {what} of {length} bytes, a length that it cannot have"))
}

/// Random bytes that are not secret. Without randomness the call fails, and the token is not at fault.
fn random<const N: usize>() -> Result<[u8; N], TokenError> {
    random_bytes().map_err(|error| TokenError::Refused(error.to_string()))
}

/// The wrap mechanisms of dekhand that a token lists, as the configuration calls them.
pub(crate) fn listed(mechanisms: &[u64]) -> Vec<String> {
    [
        (MechanismChoice::AesGcm, cryptoki_sys::CKM_AES_GCM),
        (MechanismChoice::AesKwp, cryptoki_sys::CKM_AES_KEY_WRAP_KWP),
        (MechanismChoice::AesCbc, cryptoki_sys::CKM_AES_CBC),
        // A token's list does not show the hashes.
        (MechanismChoice::RsaOaepSha256, cryptoki_sys::CKM_RSA_PKCS_OAEP),
        (MechanismChoice::RsaOaepSha1, cryptoki_sys::CKM_RSA_PKCS_OAEP),
    ]
    .into_iter()
    .filter(|(_, number)| mechanisms.contains(number))
    .map(|(choice, _)| choice.to_string())
    .collect()
}
