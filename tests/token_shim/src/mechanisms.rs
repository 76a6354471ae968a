//! The mechanisms that the token lists, supports and refuses.

use cryptoki_sys::CK_MECHANISM_INFO;
use cryptoki_sys::CK_MECHANISM_TYPE;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_SLOT_ID;
use cryptoki_sys::CK_ULONG;
use cryptoki_sys::CKF_DECRYPT;
use cryptoki_sys::CKF_ENCRYPT;
use cryptoki_sys::CKF_MESSAGE_DECRYPT;
use cryptoki_sys::CKF_MESSAGE_ENCRYPT;
use cryptoki_sys::CKM_AES_GCM;
use cryptoki_sys::CKM_AES_KEY_WRAP_KWP;
use cryptoki_sys::CKR_BUFFER_TOO_SMALL;
use cryptoki_sys::CKR_MECHANISM_INVALID;
use cryptoki_sys::CKR_OK;

use crate::control;
use crate::control::Control;
use crate::control::Like;
use crate::real::real;

/// The return value of an operation with a mechanism that the token does not support or refuses.
pub(crate) fn refusal(control: &Control, kind: CK_MECHANISM_TYPE) -> Option<CK_RV> {
    if control.hidden.contains(&kind) {
        return Some(CKR_MECHANISM_INVALID);
    }
    control
        .refused
        .iter()
        .find(|(refused, _)| *refused == kind)
        .map(|(_, answer)| *answer)
}

pub(crate) unsafe fn list(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) -> CK_RV {
    let control = control::current();
    let mut length = 0;
    let answer = real!(C_GetMechanismList(slot, std::ptr::null_mut(), &raw mut length));
    if answer != CKR_OK {
        return answer;
    }
    let mut all = vec![0; usize::try_from(length).expect("a length")];
    let answer = real!(C_GetMechanismList(slot, all.as_mut_ptr(), &raw mut length));
    if answer != CKR_OK {
        return answer;
    }
    all.truncate(usize::try_from(length).expect("a length"));
    if control.kwp {
        all.push(CKM_AES_KEY_WRAP_KWP);
    }
    all.retain(|kind| !control.hidden.contains(kind));
    let capacity = *count;
    *count = all.len() as CK_ULONG;
    if list.is_null() {
        return CKR_OK;
    }
    if capacity < *count {
        return CKR_BUFFER_TOO_SMALL;
    }
    list.copy_from_nonoverlapping(all.as_ptr(), all.len());
    CKR_OK
}

pub(crate) unsafe fn info(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO) -> CK_RV {
    let control = control::current();
    if control.hidden.contains(&kind) {
        return CKR_MECHANISM_INVALID;
    }
    if control.kwp && kind == CKM_AES_KEY_WRAP_KWP {
        *info = CK_MECHANISM_INFO {
            ulMinKeySize: 16,
            ulMaxKeySize: 32,
            flags: CKF_ENCRYPT | CKF_DECRYPT,
        };
        return CKR_OK;
    }
    let answer = real!(C_GetMechanismInfo(slot, kind, info));
    if answer == CKR_OK && kind == CKM_AES_GCM && control.like == Like::V3 {
        (*info).flags &= !CKF_ENCRYPT;
        (*info).flags |= CKF_MESSAGE_ENCRYPT | CKF_MESSAGE_DECRYPT;
    }
    answer
}
