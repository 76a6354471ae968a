//! The suites of the sealed format: the ciphers that seal a payload under a key derived from a data key.

use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::crypto::NotAuthentic;
use crate::crypto::SealError;
use crate::crypto::aes_gcm;
use crate::crypto::aes_gcm::AesGcm;
use crate::crypto::cbc_hs512;
use crate::crypto::cbc_hs512::CbcHs512;
use crate::crypto::derive::Purpose;
use crate::crypto::derive::Use;
use crate::crypto::derive::derive;
use crate::secret::Key;
use crate::secret::random_bytes;

/// A suite. The numbers are stored; they never change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Suite {
    /// AES-256-GCM: nonce 12, ciphertext, tag 16.
    #[default]
    #[serde(rename = "aes-256-gcm")]
    Aes256Gcm = 1,
    /// A256CBC-HS512: IV 16, ciphertext (PKCS#7), MAC 32.
    #[serde(rename = "a256cbc-hs512")]
    A256CbcHs512 = 2,
}

impl Suite {
    /// The suite of a number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        [Self::Aes256Gcm, Self::A256CbcHs512]
            .into_iter()
            .find(|suite| suite.number() == number)
    }

    /// The suite's byte in a sealed payload.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// The sealed length of a payload of `payload` bytes, including nonce or IV.
    pub fn sealed_length(self, payload: usize) -> usize {
        match self {
            Self::Aes256Gcm => aes_gcm::NONCE + payload + aes_gcm::TAG,
            Self::A256CbcHs512 => {
                let padded = (payload / cbc_hs512::BLOCK + 1) * cbc_hs512::BLOCK;
                cbc_hs512::IV + padded + cbc_hs512::MAC
            }
        }
    }

    /// Whether a payload sealed by this suite can have `sealed` bytes. A payload is never empty.
    pub fn fits(self, sealed: usize) -> bool {
        match self {
            Self::Aes256Gcm => sealed > aes_gcm::NONCE + aes_gcm::TAG,
            Self::A256CbcHs512 => {
                let fixed = cbc_hs512::IV + cbc_hs512::MAC;
                sealed > fixed && (sealed - fixed).is_multiple_of(cbc_hs512::BLOCK)
            }
        }
    }
}

/// A suite's cipher under the key derived from a data key for one purpose.
#[derive(Debug)]
pub enum Cipher {
    /// Suite 1.
    Aes256Gcm(AesGcm),
    /// Suite 2.
    A256CbcHs512(CbcHs512),
}

impl Cipher {
    /// Derives the cipher of a data key.
    pub fn of(suite: Suite, data_key: &Key, purpose: Purpose) -> Self {
        match suite {
            Suite::Aes256Gcm => Self::Aes256Gcm(AesGcm::new(&derive(data_key, purpose, Use::Gcm))),
            Suite::A256CbcHs512 => Self::A256CbcHs512(CbcHs512::new(&derive(data_key, purpose, Use::CbcHs512))),
        }
    }

    /// Appends a fresh random nonce or IV, ciphertext and tag to `sealed`.
    ///
    /// # Errors
    /// There is no randomness, or the payload is too long for the algorithm.
    pub fn seal(&self, associated_data: &[u8], payload: &[u8], sealed: &mut Vec<u8>) -> Result<(), SealError> {
        match self {
            Self::Aes256Gcm(cipher) => {
                let nonce = random_bytes()?;
                let body = cipher.seal(&nonce, associated_data, payload)?;
                sealed.extend(nonce.into_iter().chain(body));
            }
            Self::A256CbcHs512(cipher) => {
                let iv = random_bytes()?;
                let body = cipher.seal(&iv, associated_data, payload)?;
                sealed.extend(iv.into_iter().chain(body));
            }
        }
        Ok(())
    }

    /// Opens the bytes that [`Cipher::seal`] has appended.
    ///
    /// # Errors
    /// Not sealed by this cipher with this associated data.
    pub fn open(&self, associated_data: &[u8], sealed: &[u8]) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        match self {
            Self::Aes256Gcm(cipher) => {
                let (nonce, body) = sealed.split_first_chunk().ok_or(NotAuthentic)?;
                cipher.open(nonce, associated_data, body)
            }
            Self::A256CbcHs512(cipher) => {
                let (iv, body) = sealed.split_first_chunk().ok_or(NotAuthentic)?;
                cipher.open(iv, associated_data, body)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_suite_opens_what_it_sealed_and_its_lengths_are_exact() {
        let data_key = Key::random().unwrap();
        for suite in [Suite::Aes256Gcm, Suite::A256CbcHs512] {
            let cipher = Cipher::of(suite, &data_key, Purpose::Kms2);
            for length in [1, 15, 16, 17, 32, 300] {
                let payload = vec![7; length];
                let mut sealed = Vec::new();
                cipher.seal(b"header", &payload, &mut sealed).unwrap();
                assert_eq!(sealed.len(), suite.sealed_length(length));
                assert!(suite.fits(sealed.len()));
                assert_eq!(cipher.open(b"header", &sealed).unwrap().as_slice(), payload);
                assert_eq!(cipher.open(b"leader", &sealed), Err(NotAuthentic));
            }
            assert_eq!(cipher.open(b"header", b""), Err(NotAuthentic));
        }
    }
}
