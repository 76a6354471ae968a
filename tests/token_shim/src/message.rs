//! The message functions of PKCS#11 3.0 for AES-GCM, over `SoftHSM`'s `C_Encrypt` and `C_Decrypt`.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::PoisonError;

use cryptoki_sys::*;

use crate::control;
use crate::crypt::Direction;
use crate::crypt::slice;
use crate::faults;
use crate::gcm;
use crate::mechanisms;
use crate::real::real;
use crate::sessions;

/// The keys of the active operations.
static KEYS: Mutex<Option<HashMap<(CK_SESSION_HANDLE, Direction), CK_OBJECT_HANDLE>>> = Mutex::new(None);

fn keys<T>(with: impl FnOnce(&mut HashMap<(CK_SESSION_HANDLE, Direction), CK_OBJECT_HANDLE>) -> T) -> T {
    with(
        KEYS.lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_default(),
    )
}

/// The session is closed.
pub(crate) fn forget(session: CK_SESSION_HANDLE) {
    keys(|keys| keys.retain(|(of, _), _| *of != session));
}

/// All sessions are closed.
pub(crate) fn forget_all() {
    keys(HashMap::clear);
}

fn init(session: CK_SESSION_HANDLE, direction: Direction, mechanism: &CK_MECHANISM, key: CK_OBJECT_HANDLE) -> CK_RV {
    let kind = mechanism.mechanism;
    let refused = mechanisms::refusal(&control::current(), kind);
    if let Some(answer) = sessions::logged_out().or(refused) {
        return answer;
    }
    if kind != CKM_AES_GCM {
        return CKR_MECHANISM_INVALID;
    }
    keys(|keys| match keys.entry((session, direction)) {
        Entry::Occupied(_) => CKR_OPERATION_ACTIVE,
        Entry::Vacant(free) => {
            free.insert(key);
            CKR_OK
        }
    })
}

fn end(session: CK_SESSION_HANDLE, direction: Direction) -> CK_RV {
    match keys(|keys| keys.remove(&(session, direction))) {
        Some(_) => CKR_OK,
        None => CKR_OPERATION_NOT_INITIALIZED,
    }
}

pub(crate) unsafe fn encrypt_init(s: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) -> CK_RV {
    mechanism.as_ref().map_or(CKR_ARGUMENTS_BAD, |mechanism| {
        init(s, Direction::Encrypt, mechanism, key)
    })
}

pub(crate) unsafe fn decrypt_init(s: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) -> CK_RV {
    mechanism.as_ref().map_or(CKR_ARGUMENTS_BAD, |mechanism| {
        init(s, Direction::Decrypt, mechanism, key)
    })
}

pub(crate) unsafe fn encrypt_final(session: CK_SESSION_HANDLE) -> CK_RV {
    end(session, Direction::Encrypt)
}

pub(crate) unsafe fn decrypt_final(session: CK_SESSION_HANDLE) -> CK_RV {
    end(session, Direction::Decrypt)
}

/// The input of both directions: the key, the parameters, and `SoftHSM`'s mechanism.
struct Message {
    key: CK_OBJECT_HANDLE,
    parameters: CK_GCM_MESSAGE_PARAMS,
    gcm: CK_GCM_PARAMS,
    tag: usize,
}

unsafe fn message(
    session: CK_SESSION_HANDLE,
    direction: Direction,
    parameters: *mut c_void,
    associated: &[u8],
) -> Result<Message, CK_RV> {
    let key = keys(|keys| keys.get(&(session, direction)).copied()).ok_or(CKR_OPERATION_NOT_INITIALIZED)?;
    let parameters: *mut CK_GCM_MESSAGE_PARAMS = parameters.cast();
    let parameters = *parameters.as_ref().ok_or(CKR_MECHANISM_PARAM_INVALID)?;
    if parameters.pIv.is_null() || parameters.ulIvLen != 12 || parameters.pTag.is_null() {
        return Err(CKR_MECHANISM_PARAM_INVALID);
    }
    let gcm = CK_GCM_PARAMS {
        pIv: parameters.pIv,
        ulIvLen: parameters.ulIvLen,
        ulIvBits: parameters.ulIvLen * 8,
        pAAD: associated.as_ptr().cast_mut(),
        ulAADLen: associated.len() as CK_ULONG,
        ulTagBits: parameters.ulTagBits,
    };
    let tag = usize::try_from(parameters.ulTagBits / 8).expect("a length");
    Ok(Message {
        key,
        parameters,
        gcm,
        tag,
    })
}

fn mechanism(gcm: &mut CK_GCM_PARAMS) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: CKM_AES_GCM,
        pParameter: std::ptr::from_mut(gcm).cast(),
        ulParameterLen: size_of::<CK_GCM_PARAMS>() as CK_ULONG,
    }
}

#[expect(clippy::too_many_arguments, reason = "as the standard has it")]
pub(crate) unsafe fn encrypt(
    session: CK_SESSION_HANDLE,
    parameters: *mut c_void,
    _parameters_length: CK_ULONG,
    associated: *mut CK_BYTE,
    associated_length: CK_ULONG,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    output: *mut CK_BYTE,
    output_length: *mut CK_ULONG,
) -> CK_RV {
    let _inside = sessions::inside();
    let associated = slice(associated, associated_length);
    let mut message = match message(session, Direction::Encrypt, parameters, associated) {
        Ok(message) => message,
        Err(answer) => return answer,
    };
    let capacity = *output_length;
    if output.is_null() || capacity < length {
        *output_length = length;
        return if output.is_null() { CKR_OK } else { CKR_BUFFER_TOO_SMALL };
    }
    // In FIPS mode such a token refuses a caller's own IV.
    if message.parameters.ivGenerator == CKG_NO_GENERATE {
        return CKR_MECHANISM_PARAM_INVALID;
    }
    let control = control::current();
    let iv = if control.constant_iv {
        vec![0; 12]
    } else {
        gcm::random(12)
    };
    message.parameters.pIv.copy_from_nonoverlapping(iv.as_ptr(), iv.len());
    let mut whole = vec![0; usize::try_from(length).expect("a length") + message.tag];
    let mut whole_length = whole.len() as CK_ULONG;
    let mut mechanism = mechanism(&mut message.gcm);
    let mut answer = real!(C_EncryptInit(session, &raw mut mechanism, message.key));
    if answer == CKR_OK {
        answer = real!(C_Encrypt(
            session,
            data,
            length,
            whole.as_mut_ptr(),
            &raw mut whole_length
        ));
    }
    if answer == CKR_OK {
        let (ciphertext, tag) = whole.split_at(whole.len() - message.tag);
        output.copy_from_nonoverlapping(ciphertext.as_ptr(), ciphertext.len());
        message
            .parameters
            .pTag
            .copy_from_nonoverlapping(tag.as_ptr(), tag.len());
        *output_length = length;
        faults::alter(&control, "C_EncryptMessage", output, output_length, capacity);
    }
    answer
}

#[expect(clippy::too_many_arguments, reason = "as the standard has it")]
pub(crate) unsafe fn decrypt(
    session: CK_SESSION_HANDLE,
    parameters: *mut c_void,
    _parameters_length: CK_ULONG,
    associated: *mut CK_BYTE,
    associated_length: CK_ULONG,
    data: *mut CK_BYTE,
    length: CK_ULONG,
    output: *mut CK_BYTE,
    output_length: *mut CK_ULONG,
) -> CK_RV {
    let _inside = sessions::inside();
    let associated = slice(associated, associated_length);
    let mut message = match message(session, Direction::Decrypt, parameters, associated) {
        Ok(message) => message,
        Err(answer) => return answer,
    };
    let capacity = *output_length;
    if output.is_null() {
        *output_length = length;
        return CKR_OK;
    }
    let mut whole = slice(data, length).to_vec();
    whole.extend_from_slice(slice(message.parameters.pTag, message.tag as CK_ULONG));
    let mut mechanism = mechanism(&mut message.gcm);
    let mut answer = real!(C_DecryptInit(session, &raw mut mechanism, message.key));
    if answer == CKR_OK {
        let (from, from_length) = (whole.as_mut_ptr(), whole.len() as CK_ULONG);
        answer = real!(C_Decrypt(session, from, from_length, output, output_length));
    }
    let control = control::current();
    match (answer, control.decrypt_error) {
        (CKR_OK, _) => {
            faults::alter(&control, "C_DecryptMessage", output, output_length, capacity);
            CKR_OK
        }
        (_, Some(instead)) => instead,
        (answer, None) => answer,
    }
}
