//! AES key wrap with padding (RFC 5649) over `SoftHSM`'s AES-ECB, which has no KWP of its own.

use cryptoki_sys::CK_MECHANISM;
use cryptoki_sys::CK_OBJECT_HANDLE;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_SESSION_HANDLE;
use cryptoki_sys::CK_ULONG;
use cryptoki_sys::CKM_AES_ECB;
use cryptoki_sys::CKR_ENCRYPTED_DATA_INVALID;
use cryptoki_sys::CKR_ENCRYPTED_DATA_LEN_RANGE;
use cryptoki_sys::CKR_MECHANISM_PARAM_INVALID;
use cryptoki_sys::CKR_OK;

use crate::control::Control;
use crate::crypt::Direction;
use crate::crypt::Operation;
use crate::real::real;

/// RFC 5649, 3: the constant of the alternative initial value.
const CONSTANT: [u8; 4] = [0xA6, 0x59, 0x59, 0xA6];

pub(crate) fn init(mechanism: &CK_MECHANISM, key: CK_OBJECT_HANDLE) -> (CK_RV, Option<Operation>) {
    if mechanism.ulParameterLen != 0 {
        return (CKR_MECHANISM_PARAM_INVALID, None);
    }
    (CKR_OK, Some(Operation::Kwp { key }))
}

/// Wraps or unwraps.
pub(crate) unsafe fn run(
    control: &Control,
    direction: Direction,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    input: &[u8],
) -> Result<Vec<u8>, CK_RV> {
    match direction {
        Direction::Encrypt => wrap(session, key, input),
        Direction::Decrypt => unwrap(control, session, key, input),
    }
}

unsafe fn wrap(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, plaintext: &[u8]) -> Result<Vec<u8>, CK_RV> {
    let length = u32::try_from(plaintext.len()).expect("a short plaintext");
    let mut whole = [CONSTANT, length.to_be_bytes()].concat();
    whole.extend_from_slice(plaintext);
    whole.resize(8 + plaintext.len().next_multiple_of(8), 0);
    if whole.len() == 16 {
        encrypt_blocks(session, key, &mut whole)?;
        return Ok(whole);
    }
    let count = whole.len() / 8 - 1;
    let (first, rest) = whole.split_at_mut(8);
    for step in 1..=6 * count {
        let part = &mut rest[(step - 1) % count * 8..][..8];
        let mut block = [&*first, &*part].concat();
        encrypt_blocks(session, key, &mut block)?;
        first.copy_from_slice(&block[..8]);
        mix(first, step);
        part.copy_from_slice(&block[8..]);
    }
    Ok(whole)
}

unsafe fn unwrap(
    control: &Control,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    wrapped: &[u8],
) -> Result<Vec<u8>, CK_RV> {
    if wrapped.len() < 16 || !wrapped.len().is_multiple_of(8) {
        return Err(CKR_ENCRYPTED_DATA_LEN_RANGE);
    }
    let mut whole = wrapped.to_vec();
    if whole.len() == 16 {
        decrypt_blocks(session, key, &mut whole)?;
    } else {
        let count = whole.len() / 8 - 1;
        let (first, rest) = whole.split_at_mut(8);
        for step in (1..=6 * count).rev() {
            let part = &mut rest[(step - 1) % count * 8..][..8];
            mix(first, step);
            let mut block = [&*first, &*part].concat();
            decrypt_blocks(session, key, &mut block)?;
            first.copy_from_slice(&block[..8]);
            part.copy_from_slice(&block[8..]);
        }
    }
    let (constant, rest) = whole.split_at(4);
    let (length, padded) = rest.split_at(4);
    let length = length
        .iter()
        .fold(0_usize, |length, byte| length << 8 | usize::from(*byte));
    let padding = padded.get(length..).unwrap_or(&[1]);
    let is_right = constant == CONSTANT && padding.len() < 8 && padding.iter().all(|byte| *byte == 0);
    match is_right {
        true => Ok(padded[..length].to_vec()),
        false if control.no_tamper_detection => Ok(padded.to_vec()),
        false => Err(CKR_ENCRYPTED_DATA_INVALID),
    }
}

fn mix(first: &mut [u8], step: usize) {
    for (byte, mask) in first.iter_mut().zip((step as u64).to_be_bytes()) {
        *byte ^= mask;
    }
}

/// Encrypts whole blocks, each by itself.
pub(crate) unsafe fn encrypt_blocks(
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    blocks: &mut [u8],
) -> Result<(), CK_RV> {
    let (input, mut length) = (blocks.to_vec(), blocks.len() as CK_ULONG);
    let (from, to) = (input.as_ptr().cast_mut(), blocks.as_mut_ptr());
    let mut ecb = ecb();
    done(real!(C_EncryptInit(session, &raw mut ecb, key)))?;
    done(real!(C_Encrypt(session, from, length, to, &raw mut length)))
}

unsafe fn decrypt_blocks(session: CK_SESSION_HANDLE, key: CK_OBJECT_HANDLE, blocks: &mut [u8]) -> Result<(), CK_RV> {
    let (input, mut length) = (blocks.to_vec(), blocks.len() as CK_ULONG);
    let (from, to) = (input.as_ptr().cast_mut(), blocks.as_mut_ptr());
    let mut ecb = ecb();
    done(real!(C_DecryptInit(session, &raw mut ecb, key)))?;
    done(real!(C_Decrypt(session, from, length, to, &raw mut length)))
}

fn ecb() -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: CKM_AES_ECB,
        ..CK_MECHANISM::default()
    }
}

fn done(answer: CK_RV) -> Result<(), CK_RV> {
    if answer == CKR_OK { Ok(()) } else { Err(answer) }
}
