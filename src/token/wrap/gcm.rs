//! AES-GCM in a token (NIST SP 800-38D), with every source of IVs that tokens have.

use std::fmt;

use zeroize::Zeroizing;

use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::token::error::TokenError;
use crate::token::params::CipherParams;
use crate::token::params::GcmIv;
use crate::token::params::GcmMessage;
use crate::token::wrap::bad_ciphertext;
use crate::token::wrap::cipher::TokenCipher;
use crate::token::wrap::random;
use crate::token::wrap::wrong_length;

/// Ciphertext and tag of a data key.
const SEALED: usize = 32 + 16;

/// Longer than any right result: a longer output is noticed, not cut off, and SoftHSM needs this room to decrypt.
const ROOM: usize = 128;

/// The source of the IV, and its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IvMode {
    /// dekhand's own: 12 random bytes.
    Caller,
    /// The token writes 12 bytes over a buffer of zeros (AWS CloudHSM).
    Buffer,
    /// The token takes no IV and appends its own to the tag (Thales Luna in FIPS mode).
    Appended {
        /// The length of the appended IV.
        length: IvLength,
    },
    /// The token requires an IV, and appends another one of its own to the tag (Thales `ProtectServer`).
    Replaced {
        /// The length of the required IV.
        given: IvLength,
        /// The length of the token's own IV.
        length: IvLength,
    },
    /// 12 bytes beside the message of a PKCS#11 3.0 call.
    Message {
        /// Whether the token makes the IV.
        by_token: bool,
    },
}

/// The lengths of IVs in the sealed format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IvLength {
    /// 12 bytes.
    Twelve,
    /// 16 bytes.
    Sixteen,
}

impl IvLength {
    fn bytes(self) -> usize {
        match self {
            Self::Twelve => 12,
            Self::Sixteen => 16,
        }
    }
}

impl IvMode {
    /// All sources, in the order in which they are tried.
    pub(super) const ALL: [Self; 9] = [
        Self::Caller,
        Self::Buffer,
        Self::Appended {
            length: IvLength::Sixteen,
        },
        Self::Appended {
            length: IvLength::Twelve,
        },
        Self::Replaced {
            given: IvLength::Twelve,
            length: IvLength::Twelve,
        },
        Self::Replaced {
            given: IvLength::Twelve,
            length: IvLength::Sixteen,
        },
        Self::Replaced {
            given: IvLength::Sixteen,
            length: IvLength::Sixteen,
        },
        Self::Message { by_token: true },
        Self::Message { by_token: false },
    ];

    /// The mechanism of the sealed format for this source.
    pub(super) fn mechanism(self) -> Mechanism {
        match self {
            Self::Appended { length } | Self::Replaced { length, .. } if length == IvLength::Sixteen => {
                Mechanism::AesGcmTokenIv
            }
            _ => Mechanism::AesGcm,
        }
    }
}

impl fmt::Display for IvMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Caller => f.write_str("ours"),
            Self::Buffer => f.write_str("the token's, written over zeros"),
            Self::Appended { length } => write!(f, "the token's {} bytes, appended", length.bytes()),
            Self::Replaced { given, length } => write!(
                f,
                "the token's {} bytes, appended, instead of the {} given",
                length.bytes(),
                given.bytes()
            ),
            Self::Message { by_token: true } => f.write_str("the token's, by C_EncryptMessage"),
            Self::Message { by_token: false } => f.write_str("ours, by C_EncryptMessage"),
        }
    }
}

/// IV, ciphertext and tag.
pub(super) fn wrap(mode: IvMode, cipher: &dyn TokenCipher, id: &KeyId, data_key: &Key) -> Result<Vec<u8>, TokenError> {
    let associated_data = mode.mechanism().wrap_associated_data(id);
    let encrypt = |iv: GcmIv<'_>| {
        let operation = CipherParams::AesGcm {
            iv,
            associated_data: &associated_data,
        };
        let mut output = vec![0; ROOM];
        let length = cipher.encrypt(operation, data_key.expose(), &mut output)?;
        output.truncate(length);
        Ok::<_, TokenError>(output)
    };
    match mode {
        IvMode::Caller => {
            let iv = random::<12>()?;
            let mut buffer = iv;
            let sealed = exactly(SEALED, encrypt(GcmIv::Buffer(&mut buffer))?)?;
            if buffer != iv {
                return Err(TokenError::Misbehaved("changed the IV that it was given".to_owned()));
            }
            Ok([&iv, sealed.as_slice()].concat())
        }
        IvMode::Buffer => {
            let mut iv = [0; 12];
            let sealed = exactly(SEALED, encrypt(GcmIv::Buffer(&mut iv))?)?;
            Ok([made(&iv)?, &sealed].concat())
        }
        IvMode::Appended { length } => {
            let length = length.bytes();
            iv_first(length, encrypt(GcmIv::None { length })?)
        }
        IvMode::Replaced { given, length } => {
            let mut buffer = random::<16>()?;
            let given = buffer.get_mut(..given.bytes()).unwrap_or_default();
            iv_first(length.bytes(), encrypt(GcmIv::Buffer(given))?)
        }
        IvMode::Message { by_token } => wrap_message(by_token, cipher, &associated_data, data_key),
    }
}

fn wrap_message(
    by_token: bool,
    cipher: &dyn TokenCipher,
    associated_data: &[u8],
    data_key: &Key,
) -> Result<Vec<u8>, TokenError> {
    // Random even if the token should overwrite it: if it does not, the IV is good all the same.
    let given = random::<12>()?;
    let (mut iv, mut tag) = (given, [0; 16]);
    let message = GcmMessage {
        iv: &mut iv,
        token_makes_iv: by_token,
        associated_data,
        tag: &mut tag,
    };
    let mut output = vec![0; ROOM];
    let length = cipher.encrypt_message(message, data_key.expose(), &mut output)?;
    output.truncate(length);
    if !by_token && iv != given {
        return Err(TokenError::Misbehaved("changed the IV that it was given".to_owned()));
    }
    Ok([made(&iv)?, &exactly(32, output)?, &tag].concat())
}

/// The data key of IV, ciphertext and tag.
pub(super) fn unwrap(
    cipher: &dyn TokenCipher,
    mechanism: Mechanism,
    id: &KeyId,
    bytes: &[u8],
) -> Result<Key, TokenError> {
    let iv_length = bytes.len().checked_sub(SEALED).ok_or_else(bad_ciphertext)?;
    let (iv, sealed) = bytes.split_at_checked(iv_length).ok_or_else(bad_ciphertext)?;
    let mut iv = iv.to_vec();
    let operation = CipherParams::AesGcm {
        iv: GcmIv::Buffer(&mut iv),
        associated_data: &mechanism.wrap_associated_data(id),
    };
    let mut output = Zeroizing::new([0; ROOM]);
    let length = cipher.decrypt(operation, sealed, output.as_mut_slice())?;
    output
        .get(..length)
        .and_then(Key::copied_from)
        .ok_or_else(|| wrong_length("a plaintext", length))
}

/// Reorders `ciphertext, tag, IV` to `IV, ciphertext, tag`.
fn iv_first(iv_length: usize, output: Vec<u8>) -> Result<Vec<u8>, TokenError> {
    let mut output = exactly(SEALED + iv_length, output)?;
    made(output.get(SEALED..).unwrap_or_default())?;
    output.rotate_right(iv_length);
    Ok(output)
}

fn exactly(length: usize, output: Vec<u8>) -> Result<Vec<u8>, TokenError> {
    if output.len() == length {
        Ok(output)
    } else {
        Err(wrong_length("a ciphertext", output.len()))
    }
}

/// Rejects an IV of zeros, which is a buffer that the token has not written.
fn made(iv: &[u8]) -> Result<&[u8], TokenError> {
    if iv.iter().all(|byte| *byte == 0) {
        Err(TokenError::Misbehaved("used an IV of zeros".to_owned()))
    } else {
        Ok(iv)
    }
}
