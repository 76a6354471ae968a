//! PINs, and tokens that lock.

use cryptoki_sys::*;
use token_shim::alone;
use token_shim::token::PIN;

use crate::driver::Driver;
use crate::driver::call;

const SAID: CK_FLAGS = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY | CKF_USER_PIN_LOCKED;

#[test]
fn a_token_locks_after_so_many_wrong_pins_and_says_so() {
    alone::run(|token| {
        token.set("pin locks 3");
        let driver = Driver::new();
        let session = driver.open();
        let mut seen = vec![driver.token_info().flags & SAID];
        for _ in 0..3 {
            assert_eq!(driver.login(session, "0000"), Err(CKR_PIN_INCORRECT));
            seen.push(driver.token_info().flags & SAID);
        }
        let last = CKF_USER_PIN_COUNT_LOW | CKF_USER_PIN_FINAL_TRY;
        assert_eq!(seen, [0, CKF_USER_PIN_COUNT_LOW, last, CKF_USER_PIN_LOCKED]);
        assert_eq!(driver.login(session, PIN), Err(CKR_PIN_LOCKED));
        assert_eq!(token.wrong_pins(), 3);
        // In a control file written anew, and after C_Finalize, the token is the same one.
        token.set("pin locks 3 silent");
        driver.finalize().unwrap();
        driver.initialize().unwrap();
        assert_eq!(driver.login(driver.open(), PIN), Err(CKR_PIN_LOCKED));
        assert_eq!(driver.token_info().flags & SAID, 0);
        token.unlock();
        driver.login(driver.open(), PIN).unwrap();
    });
}

#[test]
fn the_right_pin_resets_the_count() {
    alone::run(|token| {
        token.set("pin locks 3");
        let driver = Driver::new();
        for _ in 0..3 {
            let session = driver.open();
            for _ in 0..2 {
                assert_eq!(driver.login(session, "0000"), Err(CKR_PIN_INCORRECT));
            }
            driver.login(session, PIN).unwrap();
            assert_eq!(call!(driver, C_Logout(session)), CKR_OK);
        }
    });
}

#[test]
fn logged_in_already_is_said_of_every_pin() {
    alone::run(|token| {
        token.set("login already");
        let driver = Driver::new();
        let session = driver.open();
        assert_eq!(driver.login(session, "0000"), Err(CKR_USER_ALREADY_LOGGED_IN));
        assert!(driver.generate(session).is_err(), "nobody is logged in");
        assert_eq!(driver.login(session, PIN), Err(CKR_USER_ALREADY_LOGGED_IN));
        driver.generate(session).unwrap();
    });
}

#[test]
fn a_protected_path_types_its_own_pin() {
    alone::run(|token| {
        token.set(&format!("protected-path {PIN}"));
        let driver = Driver::new();
        assert_ne!(driver.token_info().flags & CKF_PROTECTED_AUTHENTICATION_PATH, 0);
        let session = driver.open();
        assert_eq!(
            call!(driver, C_Login(session, CKU_USER, std::ptr::null_mut(), 0)),
            CKR_OK
        );
        driver.generate(session).unwrap();
    });
}

#[test]
fn a_vendors_user_is_the_only_one() {
    alone::run(|token| {
        token.set("vendor-user 0x80000001");
        let driver = Driver::new();
        let session = driver.open();
        assert_eq!(driver.login(session, PIN), Err(CKR_USER_TYPE_INVALID));
        let (pin, length) = (PIN.as_ptr().cast_mut(), PIN.len() as CK_ULONG);
        assert_eq!(call!(driver, C_Login(session, 0x8000_0001, pin, length)), CKR_OK);
    });
}
