//! Objects, and what the token says of itself.

use cryptoki_sys::*;
use token_shim::alone;

use crate::driver::Driver;

#[test]
fn a_template_is_refused_for_an_attribute() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        token.set("refuse-attribute CKA_EXTRACTABLE");
        assert_eq!(driver.generate(session), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        assert_eq!(driver.import(session, &[7; 32]), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        token.set("refuse-attribute CKA_PRIVATE=true 0xD1");
        assert_eq!(driver.generate(session), Err(CKR_TEMPLATE_INCONSISTENT));
        token.set("refuse-attribute CKA_EXTRACTABLE=true\nrefuse-attribute CKA_WRAP");
        driver.generate(session).unwrap();
        token.set("no aes-key-gen");
        assert_eq!(driver.generate(session), Err(CKR_MECHANISM_INVALID));
    });
}

#[test]
fn a_weak_template_shows_in_the_key() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        let strength = |key| {
            let never = driver.boolean(session, key, CKA_NEVER_EXTRACTABLE).unwrap();
            (never, driver.boolean(session, key, CKA_ALWAYS_SENSITIVE).unwrap())
        };
        assert_eq!(strength(driver.generate(session).unwrap()), (true, true));
        token.set("weak-template");
        assert_eq!(strength(driver.generate(session).unwrap()), (false, false));
    });
}

#[test]
fn a_public_template_shows_in_the_key() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        let is_private = |key| driver.boolean(session, key, CKA_PRIVATE);
        assert_eq!(is_private(driver.generate(session).unwrap()), Ok(true));
        token.set("public-template");
        assert_eq!(is_private(driver.generate(session).unwrap()), Ok(false));
    });
}

#[test]
fn a_search_can_ignore_or_refuse_an_attribute() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        driver.generate(session).unwrap();
        let public = || driver.count(session, CKA_PRIVATE, false);
        assert_eq!(public(), Ok(0));
        token.set("search-ignores CKA_PRIVATE");
        assert_eq!(public(), Ok(1));
        token.set("search-refuses CKA_PRIVATE 0xD1");
        assert_eq!(public(), Err(CKR_TEMPLATE_INCONSISTENT));
    });
}

#[test]
fn a_hidden_attribute_is_unknown() {
    alone::run(|token| {
        let driver = Driver::new();
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        token.set("hide-attribute CKA_LOCAL");
        assert_eq!(driver.boolean(session, key, CKA_LOCAL), Err(CKR_ATTRIBUTE_TYPE_INVALID));
        assert_eq!(driver.boolean(session, key, CKA_TOKEN), Ok(true));
    });
}

#[test]
fn read_only_sessions_can_be_refused() {
    alone::run(|token| {
        let driver = Driver::new();
        token.set("read-only refused 0xB5");
        assert_eq!(driver.open_with(0), Err(CKR_SESSION_READ_ONLY));
        driver.open_with(CKF_RW_SESSION).unwrap();
    });
}

#[test]
fn a_token_says_odd_things_of_itself() {
    alone::run(|token| {
        let driver = Driver::new();
        token.set("serial 0a1b2c\nodd-clock");
        let info = driver.token_info();
        assert_eq!(&info.serialNumber, b"0a1b2c          ");
        assert_ne!(info.flags & CKF_CLOCK_ON_TOKEN, 0);
        assert_eq!(info.utcTime, [0; 16]);
        token.set("serial");
        assert_eq!(driver.token_info().serialNumber, [b' '; 16]);
    });
}
