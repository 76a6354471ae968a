//! RSA-OAEP in a token (RFC 8017, 7.1): the last resort.
//!
//! Anyone with the public key can wrap a key, so the envelope adds a commitment to the wrap.

use zeroize::Zeroizing;

use crate::secret::Key;
use crate::token::error::TokenError;
use crate::token::key_object::KeyKind;
use crate::token::params::CipherParams;
use crate::token::params::OaepHash;
use crate::token::wrap::bad_ciphertext;
use crate::token::wrap::cipher::TokenCipher;
use crate::token::wrap::wrong_length;

/// A modulus of 4096 bits.
const ROOM: usize = 512;

/// The ciphertext, as long as the modulus.
pub(super) fn wrap(hash: OaepHash, cipher: &dyn TokenCipher, data_key: &Key) -> Result<Vec<u8>, TokenError> {
    let modulus = modulus(cipher)?;
    let mut output = vec![0; ROOM];
    let length = cipher.encrypt(CipherParams::RsaOaep(hash), data_key.expose(), &mut output)?;
    // tpm2-pkcs11 reports the size of the output buffer as the length.
    if length == modulus || length == ROOM {
        output.truncate(modulus);
        Ok(output)
    } else {
        Err(wrong_length("a ciphertext", length))
    }
}

/// The data key of a ciphertext.
pub(super) fn unwrap(hash: OaepHash, cipher: &dyn TokenCipher, bytes: &[u8]) -> Result<Key, TokenError> {
    if bytes.len() != modulus(cipher)? {
        return Err(bad_ciphertext());
    }
    let mut output = Zeroizing::new([0; ROOM]);
    let length = cipher.decrypt(CipherParams::RsaOaep(hash), bytes, output.as_mut_slice())?;
    // Anyone can wrap bytes of another length.
    output
        .get(..length)
        .and_then(Key::copied_from)
        .ok_or_else(bad_ciphertext)
}

fn modulus(cipher: &dyn TokenCipher) -> Result<usize, TokenError> {
    match cipher.kind() {
        KeyKind::Rsa { bits } => Ok(bits.div_ceil(8) as usize),
        KeyKind::Aes256 => Err(TokenError::Refused("RSA-OAEP needs an RSA key".to_owned())),
    }
}
