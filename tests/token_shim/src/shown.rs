//! The token's description of itself.

use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_SLOT_ID;
use cryptoki_sys::CK_TOKEN_INFO;
use cryptoki_sys::CKF_CLOCK_ON_TOKEN;
use cryptoki_sys::CKF_PROTECTED_AUTHENTICATION_PATH;
use cryptoki_sys::CKR_OK;

use crate::control;
use crate::login;
use crate::real::real;
use crate::sessions;

pub(crate) unsafe fn token_info(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) -> CK_RV {
    let _inside = sessions::inside();
    let control = control::current();
    let answer = real!(C_GetTokenInfo(slot, info));
    if answer != CKR_OK {
        return answer;
    }
    let info = &mut *info;
    info.flags = login::flags(&control, info.flags);
    if control.protected_path.is_some() {
        info.flags |= CKF_PROTECTED_AUTHENTICATION_PATH;
    }
    if let Some(serial) = &control.serial {
        info.serialNumber = [b' '; 16];
        for (to, from) in info.serialNumber.iter_mut().zip(serial.bytes()) {
            *to = from;
        }
    }
    if control.odd_clock {
        info.flags |= CKF_CLOCK_ON_TOKEN;
        info.utcTime = [0; 16];
    }
    CKR_OK
}
