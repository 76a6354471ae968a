//! AES key wrap with padding in a token (RFC 5649, NIST SP 800-38F), by `C_Encrypt`.
//!
//! `CKM_AES_KEY_WRAP_PAD` is never used: that number means RFC 5649 on some tokens and PKCS#7 padding on others.

use zeroize::Zeroizing;

use crate::secret::Key;
use crate::token::error::TokenError;
use crate::token::params::CipherParams;
use crate::token::wrap::bad_ciphertext;
use crate::token::wrap::cipher::TokenCipher;

/// Longer than any right result.
const ROOM: usize = 128;

/// The 40 bytes of a wrapped data key; their length is checked by the caller.
pub(super) fn wrap(cipher: &dyn TokenCipher, data_key: &Key) -> Result<Vec<u8>, TokenError> {
    let mut output = vec![0; ROOM];
    let length = cipher.encrypt(CipherParams::AesKwp, data_key.expose(), &mut output)?;
    output.truncate(length);
    Ok(output)
}

/// The data key of 40 bytes.
pub(super) fn unwrap(cipher: &dyn TokenCipher, bytes: &[u8]) -> Result<Key, TokenError> {
    let mut output = Zeroizing::new([0; ROOM]);
    let length = cipher.decrypt(CipherParams::AesKwp, bytes, output.as_mut_slice())?;
    // Shorter keys also give 40 bytes, but dekhand never wraps one.
    output
        .get(..length)
        .and_then(Key::copied_from)
        .ok_or_else(bad_ciphertext)
}
