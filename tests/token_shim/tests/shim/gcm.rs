//! AES-GCM as different tokens do it.

use std::ffi::c_void;
use std::ptr::null_mut;

use cryptoki::context::Function;
use cryptoki::context::Pkcs11;
use cryptoki_sys::*;
use libloading::Library;
use token_shim::alone;

use crate::driver::DATA_KEY;
use crate::driver::Driver;
use crate::driver::Result;
use crate::driver::call;

const ASSOCIATED: &[u8] = b"associated data";

/// The parameters, with the caller's IV or none.
fn parameters(iv: Option<&mut [u8]>, associated: &[u8]) -> CK_GCM_PARAMS {
    let length = iv.as_ref().map_or(12, |iv| iv.len()) as CK_ULONG;
    CK_GCM_PARAMS {
        ulIvLen: if iv.is_some() { length } else { 0 },
        ulIvBits: length * 8,
        pIv: iv.map_or(null_mut(), <[u8]>::as_mut_ptr),
        pAAD: associated.as_ptr().cast_mut(),
        ulAADLen: associated.len() as CK_ULONG,
        ulTagBits: 128,
    }
}

fn mechanism(parameters: &mut CK_GCM_PARAMS) -> CK_MECHANISM {
    CK_MECHANISM {
        mechanism: CKM_AES_GCM,
        pParameter: std::ptr::from_mut(parameters).cast(),
        ulParameterLen: size_of::<CK_GCM_PARAMS>() as CK_ULONG,
    }
}

struct Token {
    driver: Driver,
    session: CK_SESSION_HANDLE,
    key: CK_OBJECT_HANDLE,
}

impl Token {
    fn new(control: &str, token: &token_shim::token::Token) -> Self {
        token.set(control);
        let driver = Driver::new();
        let session = driver.ready();
        let key = driver.generate(session).unwrap();
        Self { driver, session, key }
    }

    fn encrypt(&self, iv: Option<&mut [u8]>) -> Result<Vec<u8>> {
        let mut parameters = parameters(iv, ASSOCIATED);
        self.driver
            .encrypt(self.session, &mut mechanism(&mut parameters), self.key, &DATA_KEY)
    }

    fn decrypt(&self, iv: &[u8], associated: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>> {
        let mut iv = iv.to_vec();
        let mut parameters = parameters(Some(&mut iv), associated);
        self.driver
            .decrypt(self.session, &mut mechanism(&mut parameters), self.key, ciphertext)
    }

    /// Opens what ends with its IV.
    fn opens(&self, sealed: &[u8], iv_length: usize) {
        assert_eq!(sealed.len(), 32 + 16 + iv_length);
        let (ciphertext, iv) = sealed.split_at(48);
        assert_eq!(self.decrypt(iv, ASSOCIATED, ciphertext).as_deref(), Ok(&DATA_KEY[..]));
        assert_eq!(self.decrypt(iv, b"other data", ciphertext), Err(CKR_GENERAL_ERROR));
    }
}

#[test]
fn softhsm_takes_the_callers_iv() {
    alone::run(|token| {
        let token = Token::new("", token);
        let sealed = token.encrypt(Some(&mut [7; 12])).unwrap();
        token.opens(&[&*sealed, &[7; 12]].concat(), 12);
    });
}

#[test]
fn softhsm_without_an_iv_uses_zeros() {
    alone::run(|token| {
        let token = Token::new("", token);
        let sealed = token.encrypt(None).unwrap();
        assert_eq!(token.encrypt(None).unwrap(), sealed);
    });
}

#[test]
fn a_luna_makes_the_iv_and_appends_it() {
    alone::run(|token| {
        let token = Token::new("like luna", token);
        assert_eq!(token.encrypt(Some(&mut [7; 12])), Err(0x71));
        let sealed = token.encrypt(None).unwrap();
        token.opens(&sealed, 16);
        assert_ne!(token.encrypt(None).unwrap(), sealed);
        let mut no_bits = CK_GCM_PARAMS {
            ulIvBits: 0,
            ..parameters(None, ASSOCIATED)
        };
        let refused = token
            .driver
            .encrypt(token.session, &mut mechanism(&mut no_bits), token.key, &DATA_KEY);
        assert_eq!(refused, Err(0x71));
    });
}

#[test]
fn a_newer_luna_makes_an_iv_of_the_size_that_is_asked_for() {
    alone::run(|token| {
        let token = Token::new("like luna12", token);
        token.opens(&token.encrypt(None).unwrap(), 12);
    });
}

#[test]
fn an_appended_iv_needs_its_room() {
    alone::run(|token| {
        let Token { driver, session, key } = Token::new("like luna", token);
        let mut parameters = parameters(None, ASSOCIATED);
        assert_eq!(
            call!(driver, C_EncryptInit(session, &mut mechanism(&mut parameters), key)),
            CKR_OK
        );
        let (data, mut output, mut length) = (DATA_KEY.as_ptr().cast_mut(), [0; 64], 63);
        let answer = call!(
            driver,
            C_Encrypt(session, data, 32, output.as_mut_ptr(), &raw mut length)
        );
        assert_eq!((answer, length), (CKR_BUFFER_TOO_SMALL, 64));
        let answer = call!(
            driver,
            C_Encrypt(session, data, 32, output.as_mut_ptr(), &raw mut length)
        );
        assert_eq!((answer, length), (CKR_OK, 64));
    });
}

#[test]
fn a_cloudhsm_writes_its_iv_where_zeros_were() {
    alone::run(|token| {
        let token = Token::new("like cloudhsm", token);
        assert_eq!(token.encrypt(Some(&mut [7; 12])), Err(0x71));
        assert_eq!(token.encrypt(None), Err(0x71));
        let mut iv = [0; 12];
        let sealed = token.encrypt(Some(&mut iv)).unwrap();
        assert_ne!(iv, [0; 12]);
        token.opens(&[&*sealed, &iv].concat(), 12);
    });
}

#[test]
fn a_cloudhsm_writes_its_iv_with_the_ciphertext_and_not_before() {
    alone::run(|token| {
        let Token { driver, session, key } = Token::new("like cloudhsm", token);
        let mut iv = [0; 12];
        let mut parameters = parameters(Some(&mut iv), ASSOCIATED);
        assert_eq!(
            call!(driver, C_EncryptInit(session, &mut mechanism(&mut parameters), key)),
            CKR_OK
        );
        // SAFETY: it points at `iv`, which lives.
        let written = || unsafe { *parameters.pIv.cast::<[u8; 12]>() } != [0; 12];
        assert!(!written());
        let (data, mut output, mut length) = (DATA_KEY.as_ptr().cast_mut(), [0; 64], 64);
        assert_eq!(
            call!(
                driver,
                C_Encrypt(session, data, 32, output.as_mut_ptr(), &raw mut length)
            ),
            CKR_OK
        );
        assert!(written());
    });
}

#[test]
fn a_cloudhsm_has_no_read_only_sessions_and_changes_no_attributes() {
    alone::run(|token| {
        let token = Token::new("like cloudhsm", token);
        assert_eq!(token.driver.open_with(0), Err(CKR_SESSION_PARALLEL_NOT_SUPPORTED));
        let refused = call!(
            token.driver,
            C_SetAttributeValue(token.session, token.key, null_mut(), 0)
        );
        assert_eq!(refused, CKR_FUNCTION_NOT_SUPPORTED);
    });
}

#[test]
fn a_protectserver_wants_an_iv_and_appends_its_own() {
    alone::run(|token| {
        let token = Token::new("like protectserver", token);
        assert_eq!(token.encrypt(None), Err(0x71));
        let mut iv = [7; 12];
        let sealed = token.encrypt(Some(&mut iv)).unwrap();
        assert_eq!(iv, [7; 12]);
        assert!(!sealed.ends_with(&iv));
        token.opens(&sealed, 12);
    });
}

#[test]
fn a_constant_iv_shows_in_equal_ciphertexts_only() {
    alone::run(|token| {
        let token = Token::new("constant-iv", token);
        let sealed = token.encrypt(Some(&mut [1; 12])).unwrap();
        assert_eq!(token.encrypt(Some(&mut [2; 12])).unwrap(), sealed);
        assert_eq!(
            token.decrypt(&[1; 12], ASSOCIATED, &sealed).as_deref(),
            Ok(&DATA_KEY[..])
        );
    });
}

#[test]
fn a_constant_iv_is_appended_too() {
    alone::run(|token| {
        let token = Token::new("like luna\nconstant-iv", token);
        let sealed = token.encrypt(None).unwrap();
        assert_eq!(token.encrypt(None).unwrap(), sealed);
        assert!(sealed.ends_with(&[0; 16]));
    });
}

#[test]
fn without_tamper_detection_a_wrong_tag_does_not_matter() {
    alone::run(|token| {
        let token = Token::new("no-tamper-detection", token);
        let mut sealed = token.encrypt(Some(&mut [7; 12])).unwrap();
        assert_eq!(
            token.decrypt(&[7; 12], ASSOCIATED, &sealed).as_deref(),
            Ok(&DATA_KEY[..])
        );
        assert_eq!(
            token.decrypt(&[7; 12], b"other data", &sealed).as_deref(),
            Ok(&DATA_KEY[..])
        );
        sealed[0] ^= 1;
        let opened = token.decrypt(&[7; 12], ASSOCIATED, &sealed).unwrap();
        assert_eq!((opened[0], &opened[1..]), (DATA_KEY[0] ^ 1, &DATA_KEY[1..]));
    });
}

#[test]
fn a_failing_decryption_says_what_it_is_told_to() {
    alone::run(|token| {
        let token = Token::new("decrypt-error 0x30", token);
        let sealed = token.encrypt(Some(&mut [7; 12])).unwrap();
        assert_eq!(token.decrypt(&[7; 12], b"other data", &sealed), Err(0x30));
        assert_eq!(
            token.decrypt(&[7; 12], ASSOCIATED, &sealed).as_deref(),
            Ok(&DATA_KEY[..])
        );
    });
}

#[test]
fn a_mechanism_is_hidden_or_refused() {
    alone::run(|shim| {
        let token = Token::new("no gcm\nrefuse cbc 0x54", shim);
        assert_eq!(token.encrypt(Some(&mut [7; 12])), Err(CKR_MECHANISM_INVALID));
        assert_eq!(
            token.driver.cbc(token.session, token.key),
            Err(CKR_FUNCTION_NOT_SUPPORTED)
        );
        let listed = token.driver.mechanisms();
        assert!(
            !listed.contains(&CKM_AES_GCM) && listed.contains(&CKM_AES_CBC),
            "{listed:x?}"
        );
        let (slot, mut info) = (token.driver.slot(), CK_MECHANISM_INFO::default());
        let answer = call!(token.driver, C_GetMechanismInfo(slot, CKM_AES_GCM, &raw mut info));
        assert_eq!(answer, CKR_MECHANISM_INVALID);
        shim.set("no cbc\nno oaep\nno kwp");
        token.encrypt(Some(&mut [7; 12])).unwrap();
        assert_eq!(token.driver.cbc(token.session, token.key), Err(CKR_MECHANISM_INVALID));
    });
}

#[test]
fn only_a_token_of_version_3_has_its_interface() {
    alone::run(|token| {
        token.set("");
        let module = Pkcs11::new(token_shim::path()).unwrap();
        assert!(!module.is_fn_supported(Function::EncryptMessage));
    });
}

type GetInterface = unsafe extern "C" fn(*mut u8, *mut CK_VERSION, *mut *mut CK_INTERFACE, CK_FLAGS) -> CK_RV;

/// The functions of version 3.0, asked for as the standard has it.
fn version_3() -> CK_FUNCTION_LIST_3_0 {
    let mut interface = null_mut();
    let mut version = CK_VERSION { major: 3, minor: 0 };
    let name = c"PKCS 11".as_ptr().cast_mut().cast();
    // SAFETY: the shim's initialisers, and pointers to live values.
    unsafe {
        let library = Box::leak(Box::new(Library::new(token_shim::path()).unwrap()));
        let get = library.get::<GetInterface>(b"C_GetInterface").unwrap();
        assert_eq!(get(name, &raw mut version, &raw mut interface, 0), CKR_OK);
        *(*interface).pFunctionList.cast()
    }
}

#[test]
fn a_token_of_version_3_makes_the_iv_of_a_message() {
    alone::run(|token| {
        let Token { driver, session, key } = Token::new("like v3", token);
        let module = Pkcs11::new(token_shim::path()).unwrap();
        assert!(module.is_fn_supported(Function::EncryptMessage));
        let (mut iv, mut tag, mut output, mut length) = ([0; 12], [0; 16], [0; 32], 32);
        let mut parameters = CK_GCM_MESSAGE_PARAMS {
            pIv: iv.as_mut_ptr(),
            ulIvLen: 12,
            ulIvFixedBits: 0,
            ivGenerator: CKG_GENERATE_RANDOM,
            pTag: tag.as_mut_ptr(),
            ulTagBits: 128,
        };
        let parameters: *mut c_void = (&raw mut parameters).cast();
        let size = size_of::<CK_GCM_MESSAGE_PARAMS>() as CK_ULONG;
        let mut mechanism = crate::driver::plain(CKM_AES_GCM);
        let (data, associated) = (DATA_KEY.as_ptr().cast_mut(), ASSOCIATED.as_ptr().cast_mut());
        let (to, count) = (output.as_mut_ptr(), ASSOCIATED.len() as CK_ULONG);
        let three = Version3 { list: version_3() };
        assert_eq!(
            call!(three, C_MessageEncryptInit(session, &raw mut mechanism, key)),
            CKR_OK
        );
        let answer = call!(
            three,
            C_EncryptMessage(
                session,
                parameters,
                size,
                associated,
                count,
                data,
                32,
                to,
                &raw mut length
            )
        );
        assert_eq!((answer, length), (CKR_OK, 32));
        assert_eq!(call!(three, C_MessageEncryptFinal(session)), CKR_OK);
        assert_ne!(iv, [0; 12]);
        let sealed = [&output[..], &tag].concat();
        let token = Token { driver, session, key };
        token.opens(&[&*sealed, &iv].concat(), 12);
        assert_eq!(token.encrypt(Some(&mut [7; 12])), Err(CKR_MECHANISM_INVALID));
        let mut opened = [0; 48];
        let (from, to, mut length) = (output.as_mut_ptr(), opened.as_mut_ptr(), 48);
        assert_eq!(
            call!(three, C_MessageDecryptInit(session, &raw mut mechanism, key)),
            CKR_OK
        );
        let answer = call!(
            three,
            C_DecryptMessage(
                session,
                parameters,
                size,
                associated,
                count,
                from,
                32,
                to,
                &raw mut length
            )
        );
        assert_eq!((answer, &opened[..32]), (CKR_OK, &DATA_KEY[..]));
        assert_eq!(call!(three, C_MessageDecryptFinal(session)), CKR_OK);
        assert_eq!(
            call!(three, C_MessageDecryptFinal(session)),
            CKR_OPERATION_NOT_INITIALIZED
        );
    });
}

/// The functions of version 3.0.
struct Version3 {
    list: CK_FUNCTION_LIST_3_0,
}
