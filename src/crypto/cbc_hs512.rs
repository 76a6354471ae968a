//! A256CBC-HS512: AES-256-CBC with PKCS#7 padding, then HMAC-SHA-512 cut to 32 bytes (RFC 7518, 5.2.5).

use std::fmt;

use aes::Aes256;
use cbc::cipher::BlockModeDecrypt as _;
use cbc::cipher::BlockModeEncrypt as _;
use cbc::cipher::KeyIvInit as _;
use cbc::cipher::block_padding::Pkcs7;
use hmac::Hmac;
use hmac::KeyInit as _;
use hmac::Mac as _;
use sha2::Sha512;
use zeroize::Zeroizing;

use crate::crypto::NotAuthentic;
use crate::crypto::SealError;
use crate::secret::Key;
use crate::secret::Secret;

/// Bytes of an IV.
pub const IV: usize = 16;
/// Bytes of the MAC.
pub const MAC: usize = 32;
/// Bytes of a block. A ciphertext has at least one block.
pub const BLOCK: usize = 16;

/// The cipher under one key, whose halves are wiped when this is dropped.
pub struct CbcHs512 {
    mac_key: Key,
    encryption_key: Key,
}

impl CbcHs512 {
    /// From 64 bytes: the MAC's key, then the cipher's (5.2.2.1).
    pub fn new(key: &Secret<64>) -> Self {
        let (mac_key, encryption_key) = key.expose().split_at(32);
        let half = |bytes: &[u8]| {
            Key::try_filled(|place| {
                place.copy_from_slice(bytes);
                Ok::<(), std::convert::Infallible>(())
            })
        };
        let (Ok(mac_key), Ok(encryption_key)) = (half(mac_key), half(encryption_key));
        Self {
            mac_key,
            encryption_key,
        }
    }

    /// Returns ciphertext and MAC.
    ///
    /// # Errors
    /// The associated data is too long for its length field.
    pub fn seal(&self, iv: &[u8; IV], associated_data: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, SealError> {
        let encryptor = cbc::Encryptor::<Aes256>::new(self.encryption_key.expose().into(), iv.into());
        let mut sealed = encryptor.encrypt_padded_vec::<Pkcs7>(plaintext);
        let mac = self
            .mac(iv, associated_data, &sealed)
            .ok_or(SealError::TooLong)?
            .finalize()
            .into_bytes();
        sealed.extend(mac.iter().take(MAC));
        Ok(sealed)
    }

    /// Returns the plaintext of ciphertext and MAC. The MAC is checked, in constant time, before anything is decrypted.
    ///
    /// # Errors
    /// Not sealed under this key with this IV and associated data.
    pub fn open(
        &self,
        iv: &[u8; IV],
        associated_data: &[u8],
        sealed: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, NotAuthentic> {
        let (ciphertext, mac) = sealed.split_last_chunk::<MAC>().ok_or(NotAuthentic)?;
        let expected = self.mac(iv, associated_data, ciphertext).ok_or(NotAuthentic)?;
        expected.verify_truncated_left(mac).map_err(|_| NotAuthentic)?;
        let decryptor = cbc::Decryptor::<Aes256>::new(self.encryption_key.expose().into(), iv.into());
        decryptor
            .decrypt_padded_vec::<Pkcs7>(ciphertext)
            .map(Zeroizing::new)
            .map_err(|_| NotAuthentic)
    }

    fn mac(&self, iv: &[u8; IV], associated_data: &[u8], ciphertext: &[u8]) -> Option<Hmac<Sha512>> {
        let associated_bits = u64::try_from(associated_data.len()).ok()?.checked_mul(8)?;
        let mut mac = Hmac::<Sha512>::new_from_slice(self.mac_key.expose()).ok()?;
        mac.update(associated_data);
        mac.update(iv);
        mac.update(ciphertext);
        mac.update(&associated_bits.to_be_bytes());
        Some(mac)
    }
}

impl fmt::Debug for CbcHs512 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CbcHs512([redacted])")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 7518, appendix B.3.
    #[test]
    fn the_published_test_case_holds() {
        let key: Vec<u8> = (0..64).collect();
        let cipher = CbcHs512::new(&Secret::copied_from(&key).unwrap());
        let iv: [u8; IV] = hex::decode("1af38c2dc2b96ffdd86694092341bc04")
            .unwrap()
            .try_into()
            .unwrap();
        let plaintext = b"A cipher system must not be required to be secret, and it must be able to fall into the \
                          hands of the enemy without inconvenience";
        let associated_data = b"The second principle of Auguste Kerckhoffs";
        let sealed = hex::decode(
            "4affaaadb78c31c5da4b1b590d10ffbd3dd8d5d302423526912da037ecbcc7bd822c301dd67c373bccb584ad3e9279c2\
             e6d12a1374b77f077553df829410446b36ebd97066296ae6427ea75c2e0846a11a09ccf5370dc80bfecbad28c73f09b3\
             a3b75e662a2594410ae496b2e2e6609e31e6e02cc837f053d21f37ff4f51950bbe2638d09dd7a4930930806d0703b1f6\
             4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5",
        )
        .unwrap();
        assert_eq!(cipher.seal(&iv, associated_data, plaintext).unwrap(), sealed);
        assert_eq!(
            cipher.open(&iv, associated_data, &sealed).unwrap().as_slice(),
            plaintext
        );
        assert_eq!(cipher.open(&iv, b"", &sealed), Err(NotAuthentic));
        assert_eq!(cipher.open(&iv, associated_data, &sealed[1..]), Err(NotAuthentic));
        assert_eq!(cipher.open(&iv, associated_data, b"short"), Err(NotAuthentic));
    }
}
