//! The wrap mechanisms for data keys, with their numbers in sealed payloads.

use std::fmt;

use serde::Deserialize;
use serde::Serialize;

use crate::root_key::id::KeyId;

/// A wrap mechanism of the sealed format, version 1. The numbers are stored; they never change. The form of `serde` is
/// never stored: it is for messages between processes of one build.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[repr(u8)]
pub enum Mechanism {
    /// AES-256-GCM with a 12-byte IV: IV 12, C 32, tag 16 (NIST SP 800-38D).
    AesGcm = 1,
    /// AES-256-GCM with the token's own 16-byte IV: IV 16, C 32, tag 16.
    AesGcmTokenIv = 2,
    /// AES key wrap with padding: 40 bytes (RFC 5649).
    AesKwp = 3,
    /// AES-256-CBC without padding: IV 16, C 32; a commitment follows.
    AesCbc = 4,
    /// RSA-OAEP with SHA-256 (RFC 8017): C; a commitment follows.
    RsaOaepSha256 = 5,
    /// RSA-OAEP with SHA-1 (RFC 8017): C; a commitment follows.
    RsaOaepSha1 = 6,
}

pub use crate::crypto::commitment::COMMITMENT;

impl Mechanism {
    /// All of them, in order of their numbers.
    pub const ALL: [Self; 6] = [
        Self::AesGcm,
        Self::AesGcmTokenIv,
        Self::AesKwp,
        Self::AesCbc,
        Self::RsaOaepSha256,
        Self::RsaOaepSha1,
    ];

    /// The mechanism of a number, if there is one.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|mechanism| mechanism.number() == number)
    }

    /// The mechanism's byte in a sealed payload.
    pub fn number(self) -> u8 {
        self as u8
    }

    /// Whether a commitment follows the wrap: CBC and OAEP do not authenticate the wrapped key.
    pub fn is_committed(self) -> bool {
        matches!(self, Self::AesCbc | Self::RsaOaepSha256 | Self::RsaOaepSha1)
    }

    /// Whether the root key is an RSA key.
    pub fn is_asymmetric(self) -> bool {
        matches!(self, Self::RsaOaepSha256 | Self::RsaOaepSha1)
    }

    /// Whether a wrap by this mechanism can have this length in bytes, without commitment.
    pub fn fits(self, length: usize) -> bool {
        match self {
            Self::AesGcm => length == 12 + 32 + 16,
            Self::AesGcmTokenIv => length == 16 + 32 + 16,
            Self::AesKwp => length == 40,
            Self::AesCbc => length == 16 + 32,
            // A modulus of 2048 to 4096 bits.
            Self::RsaOaepSha256 | Self::RsaOaepSha1 => (256..=512).contains(&length),
        }
    }

    /// Associated data of a wrap by AES-GCM: `dekhand/1/wrap`, the mechanism's byte, the id.
    pub fn wrap_associated_data(self, id: &KeyId) -> Vec<u8> {
        [b"dekhand/1/wrap", [self.number()].as_slice(), id.as_bytes()].concat()
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::AesGcm => "aes-gcm",
            Self::AesGcmTokenIv => "aes-gcm-token-iv",
            Self::AesKwp => "aes-kwp",
            Self::AesCbc => "aes-cbc",
            Self::RsaOaepSha256 => "rsa-oaep-sha256",
            Self::RsaOaepSha1 => "rsa-oaep-sha1",
        })
    }
}
