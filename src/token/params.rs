//! The mechanisms of encrypt and decrypt calls, with their parameters.

/// How to encrypt or decrypt: a mechanism with its parameter.
#[derive(Debug)]
pub(crate) enum CipherParams<'a> {
    /// `CKM_AES_GCM` with a tag of 16 bytes.
    AesGcm {
        /// The IV.
        iv: GcmIv<'a>,
        /// Associated data.
        associated_data: &'a [u8],
    },
    /// `CKM_AES_KEY_WRAP_KWP`.
    AesKwp,
    /// `CKM_AES_CBC` with this IV.
    AesCbc([u8; 16]),
    /// `CKM_RSA_PKCS_OAEP`, MGF1 with the same hash, no label.
    RsaOaep(OaepHash),
}

/// The IV of AES-GCM.
#[derive(Debug)]
pub(crate) enum GcmIv<'a> {
    /// A buffer, which the token may overwrite until the operation has ended.
    Buffer(&'a mut [u8]),
    /// No buffer: the token makes an IV of `length` bytes.
    None {
        /// Bytes of that IV.
        length: usize,
    },
}

/// The hash of OAEP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum OaepHash {
    /// SHA-256.
    Sha256,
    /// SHA-1.
    Sha1,
}

/// One message for AES-GCM: each part is a buffer of its own.
#[derive(Debug)]
pub(crate) struct GcmMessage<'a> {
    /// The IV: made by the caller, or overwritten by the token.
    pub(crate) iv: &'a mut [u8],
    /// Whether the token makes the IV.
    pub(crate) token_makes_iv: bool,
    /// Associated data.
    pub(crate) associated_data: &'a [u8],
    /// Receives the tag.
    pub(crate) tag: &'a mut [u8; 16],
}
