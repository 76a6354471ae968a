//! AES-CBC without padding in a token (NIST SP 800-38A), with a random IV: for tokens that support nothing better.
//!
//! It has no integrity protection: the envelope adds a commitment, and opens nothing whose commitment is wrong.

use zeroize::Zeroizing;

use crate::secret::Key;
use crate::token::error::TokenError;
use crate::token::params::CipherParams;
use crate::token::wrap::bad_ciphertext;
use crate::token::wrap::cipher::TokenCipher;
use crate::token::wrap::random;
use crate::token::wrap::wrong_length;

/// Longer than any right result.
const ROOM: usize = 128;

/// IV and ciphertext; their length is checked by the caller.
pub(super) fn wrap(cipher: &dyn TokenCipher, data_key: &Key) -> Result<Vec<u8>, TokenError> {
    let iv = random::<16>()?;
    let mut output = vec![0; ROOM];
    let length = cipher.encrypt(CipherParams::AesCbc(iv), data_key.expose(), &mut output)?;
    output.truncate(length);
    Ok([iv.as_slice(), &output].concat())
}

/// The data key of IV and ciphertext, right or wrong.
pub(super) fn unwrap(cipher: &dyn TokenCipher, bytes: &[u8]) -> Result<Key, TokenError> {
    let (iv, ciphertext) = bytes.split_first_chunk().ok_or_else(bad_ciphertext)?;
    let mut output = Zeroizing::new([0; ROOM]);
    let length = cipher.decrypt(CipherParams::AesCbc(*iv), ciphertext, output.as_mut_slice())?;
    output
        .get(..length)
        .and_then(Key::copied_from)
        .ok_or_else(|| wrong_length("a plaintext", length))
}
