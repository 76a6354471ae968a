//! The commitment for wraps that are not authenticated: HMAC-SHA-256 cut to 16 bytes (RFC 2104, FIPS 198-1).

use hmac::Hmac;
use hmac::KeyInit as _;
use hmac::Mac as _;
use sha2::Sha256;

use crate::crypto::NotAuthentic;
use crate::secret::Key;

/// Bytes of a commitment.
pub const COMMITMENT: usize = 16;

/// The commitment of `key` to the concatenation of `parts`.
pub fn commit(key: &Key, parts: &[&[u8]]) -> [u8; COMMITMENT] {
    let mut commitment = [0; COMMITMENT];
    let full = mac(key, parts).finalize().into_bytes();
    commitment.iter_mut().zip(full).for_each(|(place, byte)| *place = byte);
    commitment
}

/// Checks in constant time that `commitment` is the one of `key` to `parts`.
///
/// # Errors
/// It is another one.
pub fn verify(key: &Key, parts: &[&[u8]], commitment: &[u8; COMMITMENT]) -> Result<(), NotAuthentic> {
    mac(key, parts)
        .verify_truncated_left(commitment)
        .map_err(|_| NotAuthentic)
}

fn mac(key: &Key, parts: &[&[u8]]) -> Hmac<Sha256> {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key.expose()) else {
        unreachable!("HMAC takes keys of every length");
    };
    for part in parts {
        mac.update(part);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 4231, test case 2, with its key padded by zeros to 32 bytes, which is the same HMAC key.
    #[test]
    fn the_published_test_case_holds() {
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let key = Key::copied_from(&key).unwrap();
        let commitment = commit(&key, &[b"what do ya want ", b"for nothing?"]);
        assert_eq!(hex::encode(commitment), "5bdcc146bf60754e6a042426089575c7");
        assert_eq!(verify(&key, &[b"what do ya want for nothing?"], &commitment), Ok(()));
        assert_eq!(
            verify(&key, &[b"what do ya want for something?"], &commitment),
            Err(NotAuthentic)
        );
    }
}
