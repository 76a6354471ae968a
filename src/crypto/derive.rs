//! Derives cipher keys from data keys: HKDF-Expand with SHA-256 (RFC 5869, 2.3), one key for each purpose and use.

use hkdf::Hkdf;
use sha2::Sha256;

use crate::secret::Key;
use crate::secret::Secret;

/// The purpose of a data key. A data key has exactly one purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// Payloads of KMS v1.
    Kms1,
    /// Payloads of KMS v2.
    Kms2,
    /// Reserved: nothing seals under it but the test vectors.
    Codec,
    /// Reserved for files: nothing seals under it yet but the test vectors.
    Seal,
}

impl Purpose {
    /// The name in derivations and associated data.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kms1 => "kms1",
            Self::Kms2 => "kms2",
            Self::Codec => "codec",
            Self::Seal => "seal",
        }
    }
}

/// The use of a derived key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Use {
    /// The key of suite 1, 32 bytes.
    Gcm,
    /// The key of suite 2, 64 bytes.
    CbcHs512,
    /// The key of commitments, 32 bytes.
    Commit,
}

impl Use {
    fn as_str(self) -> &'static str {
        match self {
            Self::Gcm => "gcm",
            Self::CbcHs512 => "cbc-hs512",
            Self::Commit => "commit",
        }
    }
}

/// HKDF-Expand-SHA-256(data key, "dekhand/1/" purpose "/" use, `N`). `N` is at most 255 * 32, the limit of HKDF.
pub fn derive<const N: usize>(data_key: &Key, purpose: Purpose, usage: Use) -> Secret<N> {
    const { assert!(N <= 255 * 32, "HKDF-Expand gives no more") };
    let info = [
        b"dekhand/1/",
        purpose.as_str().as_bytes(),
        b"/",
        usage.as_str().as_bytes(),
    ]
    .concat();
    let expanded = Secret::try_filled(|place| {
        let hkdf = Hkdf::<Sha256>::from_prk(data_key.expose()).map_err(|_| ())?;
        hkdf.expand(&info, place).map_err(|_| ())
    });
    match expanded {
        Ok(secret) => secret,
        // HKDF accepts every pseudo-random key of at least 32 bytes and every length that passes the assertion above.
        Err(()) => unreachable!("HKDF refused a length that it allows"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn purposes_and_uses_give_independent_keys() {
        let data_key = Key::random().unwrap();
        let gcm: Key = derive(&data_key, Purpose::Kms2, Use::Gcm);
        assert!(gcm.same_as(&derive(&data_key, Purpose::Kms2, Use::Gcm)));
        assert!(!gcm.same_as(&derive(&data_key, Purpose::Kms1, Use::Gcm)));
        assert!(!gcm.same_as(&derive(&data_key, Purpose::Kms2, Use::Commit)));
        assert!(!gcm.same_as(&data_key));
    }
}
