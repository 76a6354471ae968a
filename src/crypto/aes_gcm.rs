//! AES-256-GCM with a 12-byte nonce and a 16-byte tag (NIST SP 800-38D).

use std::fmt;

use aes_gcm::Aes256Gcm;
use aes_gcm::aead::Aead as _;
use aes_gcm::aead::KeyInit as _;
use aes_gcm::aead::Payload;
use zeroize::Zeroizing;

use crate::crypto::NotAuthentic;
use crate::crypto::SealError;
use crate::secret::Key;

/// Bytes of a nonce.
pub const NONCE: usize = 12;
/// Bytes of a tag.
pub const TAG: usize = 16;

/// The cipher under one key; the expanded key is wiped when this is dropped.
pub struct AesGcm(Box<Aes256Gcm>);

impl AesGcm {
    /// Expands the key.
    pub fn new(key: &Key) -> Self {
        Self(Box::new(Aes256Gcm::new(key.expose().into())))
    }

    /// Returns ciphertext and tag. The caller must never use a nonce twice under one key.
    ///
    /// # Errors
    /// The plaintext or the associated data is longer than GCM allows.
    pub fn seal(&self, nonce: &[u8; NONCE], associated_data: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let payload = Payload {
            msg: plaintext,
            aad: associated_data,
        };
        self.0.encrypt(nonce.into(), payload).map_err(|_| SealError::TooLong)
    }

    /// Returns the plaintext of ciphertext and tag.
    ///
    /// # Errors
    /// Not sealed under this key with this nonce and associated data.
    pub fn open(
        &self,
        nonce: &[u8; NONCE],
        associated_data: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let payload = Payload {
            msg: sealed,
            aad: associated_data,
        };
        self.0
            .decrypt(nonce.into(), payload)
            .map(Zeroizing::new)
            .map_err(|_| NotAuthentic)
    }
}

impl fmt::Debug for AesGcm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AesGcm([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        hex::decode(hex).unwrap().try_into().unwrap()
    }

    /// McGrew and Viega, "The Galois/Counter Mode of Operation", test case 16.
    #[test]
    fn the_published_test_case_holds() {
        let key = Key::copied_from(&bytes::<32>(
            "feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308",
        ))
        .unwrap();
        let nonce = bytes::<12>("cafebabefacedbaddecaf888");
        let associated_data = bytes::<20>("feedfacedeadbeeffeedfacedeadbeefabaddad2");
        let plaintext = bytes::<60>(
            "d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a721c3c0c95956809532fcf0e2449a6b525\
             b16aedf5aa0de657ba637b39",
        );
        let sealed = bytes::<76>(
            "522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa8cb08e48590dbb3da7b08b1056828838\
             c5f61e6393ba7a0abcc9f66276fc6ece0f4e1768cddf8853bb2d551b",
        );
        let cipher = AesGcm::new(&key);
        assert_eq!(cipher.seal(&nonce, &associated_data, &plaintext).unwrap(), sealed);
        assert_eq!(
            cipher.open(&nonce, &associated_data, &sealed).unwrap().as_slice(),
            plaintext
        );
        assert_eq!(cipher.open(&nonce, &[], &sealed), Err(NotAuthentic));
    }
}
