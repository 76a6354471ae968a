//! `C_Login`, and a token that locks.

use std::path::PathBuf;

use cryptoki_sys::CK_FLAGS;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_SESSION_HANDLE;
use cryptoki_sys::CK_ULONG;
use cryptoki_sys::CK_USER_TYPE;
use cryptoki_sys::CK_UTF8CHAR;
use cryptoki_sys::CKF_USER_PIN_COUNT_LOW;
use cryptoki_sys::CKF_USER_PIN_FINAL_TRY;
use cryptoki_sys::CKF_USER_PIN_LOCKED;
use cryptoki_sys::CKR_OK;
use cryptoki_sys::CKR_PIN_INCORRECT;
use cryptoki_sys::CKR_PIN_LOCKED;
use cryptoki_sys::CKR_USER_ALREADY_LOGGED_IN;
use cryptoki_sys::CKR_USER_TYPE_INVALID;
use cryptoki_sys::CKU_USER;

use crate::control;
use crate::control::Control;
use crate::counts;
use crate::faults;
use crate::real::real;
use crate::sessions;

pub(crate) unsafe fn login(
    session: CK_SESSION_HANDLE,
    user: CK_USER_TYPE,
    pin: *mut CK_UTF8CHAR,
    length: CK_ULONG,
) -> CK_RV {
    let _inside = sessions::inside();
    let control = control::current();
    let user = match (control.vendor_user, user) {
        (Some(own), user) if user == own => CKU_USER,
        (Some(_), CKU_USER) => return CKR_USER_TYPE_INVALID,
        (_, user) => user,
    };
    let (pin, length) = match &control.protected_path {
        Some(typed) if pin.is_null() => (typed.as_ptr().cast_mut(), typed.len() as CK_ULONG),
        _ => (pin, length),
    };
    if user == CKU_USER && control.pin.is_some_and(|lock| wrong(&control) >= lock.tries) {
        return CKR_PIN_LOCKED;
    }
    let answer = real!(C_Login(session, user, pin, length));
    match answer {
        CKR_OK => {
            sessions::logged_in();
            count(&control, |_| 0);
        }
        CKR_PIN_INCORRECT => {
            count(&control, |wrong| wrong + 1);
            if let Some(answer) = control.wrong_pin.as_ref().and_then(faults::befall) {
                return answer;
            }
        }
        _ => {}
    }
    if control.login_already {
        return CKR_USER_ALREADY_LOGGED_IN;
    }
    answer
}

/// The token's flags about its PIN.
pub(crate) fn flags(control: &Control, real: CK_FLAGS) -> CK_FLAGS {
    let Some(lock) = control.pin else {
        return real;
    };
    let without = real & !(CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED);
    let left = lock.tries.saturating_sub(wrong(control));
    without
        | match left {
            _ if lock.silent => 0,
            0 => CKF_USER_PIN_LOCKED,
            1 => CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY,
            left if left < lock.tries => CKF_USER_PIN_COUNT_LOW,
            _ => 0,
        }
}

fn file(control: &Control) -> PathBuf {
    control.place.beside("wrong-pins")
}

fn wrong(control: &Control) -> u64 {
    counts::update(&file(control), |count| count)
}

fn count(control: &Control, next: impl FnOnce(u64) -> u64) {
    if control.pin.is_some() {
        counts::update(&file(control), next);
    }
}
