//! AES-GCM of different tokens: the source of the IV, and whether the tag is checked.

use cryptoki_sys::CK_GCM_PARAMS;
use cryptoki_sys::CK_MECHANISM;
use cryptoki_sys::CK_OBJECT_HANDLE;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_SESSION_HANDLE;
use cryptoki_sys::CKM_AES_GCM;
use cryptoki_sys::CKR_MECHANISM_INVALID;
use cryptoki_sys::CKR_MECHANISM_PARAM_INVALID;

use crate::control::Control;
use crate::control::Like;
use crate::crypt::Operation;
use crate::crypt::slice;
use crate::kwp;
use crate::real::real;

const ZEROS: [u8; 16] = [0; 16];

pub(crate) unsafe fn encrypt_init(
    control: &Control,
    session: CK_SESSION_HANDLE,
    mechanism: &CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> (CK_RV, Option<Operation>) {
    let Some(parameters) = parameters(mechanism) else {
        return (CKR_MECHANISM_PARAM_INVALID, None);
    };
    let given = slice(parameters.pIv, parameters.ulIvLen);
    let no_iv = parameters.pIv.is_null();
    let own: Option<Vec<u8>> = match control.like {
        Like::V3 => return (CKR_MECHANISM_INVALID, None),
        Like::SoftHsm => None,
        Like::Luna if no_iv && parameters.ulIvBits != 0 => Some(random(16)),
        Like::Luna12 if no_iv && parameters.ulIvBits != 0 => {
            Some(random((parameters.ulIvBits / 8).try_into().unwrap_or(0)))
        }
        Like::CloudHsm if given == [0; 12] => Some(random(12)),
        Like::ProtectServer if !given.is_empty() => Some(random(given.len())),
        Like::Luna | Like::Luna12 | Like::CloudHsm | Like::ProtectServer => {
            return (CKR_MECHANISM_PARAM_INVALID, None);
        }
    };
    let length = own.as_ref().map_or(given.len(), Vec::len);
    let iv = match &own {
        _ if control.constant_iv => &ZEROS[..if length == 0 { 12 } else { length.min(16) }],
        Some(own) => own,
        None => given,
    };
    let operation = own.as_ref().map(|_| match (control.like, iv.first_chunk()) {
        (Like::CloudHsm, Some(iv)) => Operation::WriteIv {
            iv: *iv,
            address: parameters.pIv.expose_provenance(),
        },
        _ => Operation::AppendIv(iv.to_vec()),
    });
    (init_with(session, key, parameters, iv, true), operation)
}

pub(crate) unsafe fn decrypt_init(
    control: &Control,
    session: CK_SESSION_HANDLE,
    mechanism: &CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> (CK_RV, Option<Operation>) {
    let Some(parameters) = parameters(mechanism) else {
        return (CKR_MECHANISM_PARAM_INVALID, None);
    };
    let given = slice(parameters.pIv, parameters.ulIvLen);
    let iv = match given.len() {
        0 if control.constant_iv => &ZEROS[..12],
        length if control.constant_iv => &ZEROS[..length.min(16)],
        _ => given,
    };
    let operation = match iv.try_into() {
        Ok(iv) if control.no_tamper_detection => Some(Operation::Untagged {
            key,
            iv,
            tag: usize::try_from(parameters.ulTagBits / 8).expect("a length"),
        }),
        _ => None,
    };
    (init_with(session, key, parameters, iv, false), operation)
}

/// Decrypts despite a wrong tag: counter mode, as in NIST SP 800-38D for an IV of 12 bytes.
pub(crate) unsafe fn without_tag(
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    iv: &[u8; 12],
    ciphertext: &[u8],
) -> Result<Vec<u8>, CK_RV> {
    let mut stream = Vec::new();
    // Counter 1 was used for the tag.
    for counter in (2_u32..).take(ciphertext.len().div_ceil(16)) {
        stream.extend_from_slice(iv);
        stream.extend_from_slice(&counter.to_be_bytes());
    }
    kwp::encrypt_blocks(session, key, &mut stream)?;
    Ok(ciphertext.iter().zip(stream).map(|(byte, mask)| byte ^ mask).collect())
}

unsafe fn parameters(mechanism: &CK_MECHANISM) -> Option<CK_GCM_PARAMS> {
    let whole = mechanism.ulParameterLen == size_of::<CK_GCM_PARAMS>() as u64;
    let pointer: *const CK_GCM_PARAMS = mechanism.pParameter.cast();
    pointer.as_ref().copied().filter(|_| whole)
}

unsafe fn init_with(
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
    parameters: CK_GCM_PARAMS,
    iv: &[u8],
    encrypt: bool,
) -> CK_RV {
    let given_none = iv.is_empty();
    let mut parameters = CK_GCM_PARAMS {
        pIv: if given_none {
            parameters.pIv
        } else {
            iv.as_ptr().cast_mut()
        },
        ulIvLen: iv.len() as u64,
        ulIvBits: iv.len() as u64 * 8,
        ..parameters
    };
    let mut mechanism = CK_MECHANISM {
        mechanism: CKM_AES_GCM,
        pParameter: (&raw mut parameters).cast(),
        ulParameterLen: size_of::<CK_GCM_PARAMS>() as u64,
    };
    if encrypt {
        real!(C_EncryptInit(session, &raw mut mechanism, key))
    } else {
        real!(C_DecryptInit(session, &raw mut mechanism, key))
    }
}

/// The token's own randomness.
pub(crate) fn random(length: usize) -> Vec<u8> {
    let mut bytes = vec![0; length];
    getrandom::fill(&mut bytes).expect("the operating system has randomness");
    bytes
}
