//! Key wrap with padding, compared with another implementation.

use aes_kw::KwpAes256;
use aes_kw::cipher::KeyInit as _;
use cryptoki_sys::*;
use token_shim::alone;

use crate::driver::DATA_KEY;
use crate::driver::Driver;
use crate::driver::plain;

const ROOT_KEY: [u8; 32] = [0x2A; 32];

#[test]
fn it_is_the_key_wrap_of_rfc_5649() {
    alone::run(|token| {
        token.set("kwp");
        let driver = Driver::new();
        assert!(driver.mechanisms().contains(&CKM_AES_KEY_WRAP_KWP));
        let session = driver.ready();
        let key = driver.import(session, &ROOT_KEY).unwrap();
        for length in [1, 7, 8, 9, 16, 31, 32] {
            let data = &DATA_KEY[..length];
            let wrapped = driver
                .encrypt(session, &mut plain(CKM_AES_KEY_WRAP_KWP), key, data)
                .unwrap();
            let mut expected = vec![0; 8 + length.next_multiple_of(8)];
            KwpAes256::new(&ROOT_KEY.into()).wrap_key(data, &mut expected).unwrap();
            assert_eq!(wrapped, expected, "{length} bytes");
            let unwrapped = driver.decrypt(session, &mut plain(CKM_AES_KEY_WRAP_KWP), key, &wrapped);
            assert_eq!(unwrapped.as_deref(), Ok(data));
        }
    });
}

#[test]
fn tampering_is_found_unless_the_token_lies() {
    alone::run(|token| {
        token.set("kwp");
        let driver = Driver::new();
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        let mut wrapped = driver
            .encrypt(session, &mut plain(CKM_AES_KEY_WRAP_KWP), key, &DATA_KEY)
            .unwrap();
        assert_eq!(wrapped.len(), 40);
        wrapped[20] ^= 1;
        let unwrap = || driver.decrypt(session, &mut plain(CKM_AES_KEY_WRAP_KWP), key, &wrapped);
        assert_eq!(unwrap(), Err(CKR_ENCRYPTED_DATA_INVALID));
        token.set("kwp\ndecrypt-error 0x30");
        assert_eq!(unwrap(), Err(CKR_DEVICE_ERROR));
        token.set("kwp\nno-tamper-detection");
        assert_eq!(unwrap().map(|data| data.len()), Ok(32));
    });
}

#[test]
fn without_the_line_softhsm_has_none() {
    alone::run(|_| {
        let driver = Driver::new();
        assert!(!driver.mechanisms().contains(&CKM_AES_KEY_WRAP_KWP));
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        let refused = driver.encrypt(session, &mut plain(CKM_AES_KEY_WRAP_KWP), key, &DATA_KEY);
        assert_eq!(refused, Err(CKR_MECHANISM_INVALID));
    });
}
