//! Sessions and logins that are lost, and a token that is taken away.

use cryptoki_sys::*;
use token_shim::alone;
use token_shim::token::PIN;

use crate::driver::Driver;
use crate::driver::Result;

/// Whether a key is found, and encrypts.
fn works(driver: &Driver, session: CK_SESSION_HANDLE) -> Result<bool> {
    let Some(key) = driver.find(session)?.first().copied() else {
        return Ok(false);
    };
    driver.cbc(session, key).map(|_| true)
}

#[test]
fn lost_sessions_are_invalid_and_new_ones_need_a_login() {
    alone::run(|token| {
        let driver = Driver::new();
        let (one, other) = (driver.ready(), driver.open());
        driver.generate(one).unwrap();
        token.set("sessions lost");
        for session in [one, other, one] {
            assert_eq!(driver.find(session), Err(CKR_SESSION_HANDLE_INVALID));
        }
        let new = driver.open();
        assert_eq!(
            works(&driver, new),
            Ok(false),
            "private objects are not found, without an error"
        );
        driver.login(new, PIN).unwrap();
        assert_eq!(works(&driver, new), Ok(true));
        token.set("sessions lost 0xB0");
        assert_eq!(driver.find(new), Err(CKR_SESSION_CLOSED));
    });
}

#[test]
fn without_a_login_nothing_is_found_and_operations_are_refused() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        for (control, answer) in [("logged out", 0x101), ("logged out 0x60", 0x60)] {
            token.set(control);
            assert_eq!(driver.cbc(session, key), Err(answer));
            assert_eq!(driver.find(session), Ok(vec![]));
            driver.login(session, PIN).unwrap();
            assert_eq!(works(&driver, session), Ok(true));
        }
    });
}

#[test]
fn an_event_happens_once() {
    alone::run(|token| {
        token.set("sessions lost\nlogged out");
        let driver = Driver::new();
        let session = driver.ready();
        driver.generate(session).unwrap();
        assert_eq!(
            works(&driver, session),
            Ok(true),
            "it happened before there was a session"
        );
        driver.finalize().unwrap();
        driver.initialize().unwrap();
        assert_eq!(works(&driver, driver.ready()), Ok(true));
    });
}

#[test]
fn nothing_is_found_as_often_as_the_file_says() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        driver.generate(session).unwrap();
        token.set("finds nothing after 1 times 2");
        let found: Vec<_> = (0..4).map(|_| driver.find(session).unwrap().len()).collect();
        assert_eq!(found, [1, 0, 0, 1]);
        token.set("finds nothing");
        assert_eq!(driver.find(session), Ok(vec![]));
    });
}

#[test]
fn a_token_that_was_away_is_good_again_after_finalize() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        driver.generate(session).unwrap();
        token.take_away();
        assert_ne!(works(&driver, session), Ok(true));
        token.put_back();
        driver.finalize().unwrap();
        driver.initialize().unwrap();
        assert_eq!(works(&driver, driver.ready()), Ok(true));
    });
}
