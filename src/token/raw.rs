//! The PKCS#11 functions that cryptoki cannot express, called with dekhand's own buffers; the only unsafe code of the
//! crate.
//!
//! cryptoki asks for the size of every output first, hides unknown mechanisms, and fails on a token whose clock it
//! cannot read. The module is trusted to follow PKCS#11: to stay inside its buffers, and to keep no pointer after the
//! operation has ended.
#![expect(
    unsafe_code,
    reason = "a PKCS#11 module is a C library; these few functions of it are called without cryptoki"
)]

use std::ffi::c_void;
use std::fmt;
use std::path::Path;
use std::ptr;

use cryptoki::object::AttributeType;
use cryptoki::object::ObjectHandle;
use cryptoki::session::Session;
use cryptoki::slot::Slot;
use cryptoki_sys as sys;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_ULONG;

use crate::token::error::TokenError;
use crate::token::params::CipherParams;
use crate::token::params::GcmIv;
use crate::token::params::GcmMessage;
use crate::token::params::OaepHash;
use crate::token::return_value::ReturnValue;

/// The most mechanisms that a token may list; real tokens list up to some hundreds.
const MOST_MECHANISMS: CK_ULONG = 65_536;

/// A module's functions, which stay loaded while this value lives. cryptoki has loaded the same library; the dynamic
/// linker counts references and keeps one instance.
pub(crate) struct Calls {
    functions: sys::CK_FUNCTION_LIST,
    messages: Option<Messages>,
    _library: sys::Pkcs11,
}

/// The functions of PKCS#11 3.0 that encrypt messages.
struct Messages {
    init: sys::CK_C_MessageEncryptInit,
    encrypt: sys::CK_C_EncryptMessage,
    end: sys::CK_C_MessageEncryptFinal,
}

impl Calls {
    /// Finds the functions of a module that cryptoki has loaded, in the same interface.
    pub(crate) fn load(path: &Path) -> Result<Self, TokenError> {
        // SAFETY: loading runs initialisers of the library. They ran when cryptoki loaded it; it is the module that the
        // operator configured, and to run its code is what this process is for.
        let library = unsafe { sys::Pkcs11::new(path) }.map_err(|error| TokenError::Load {
            module: path.display().to_string(),
            reason: error.to_string(),
        })?;
        if let Some(list) = newest_list(&library)? {
            // SAFETY: by the standard this is a function list, whose first field is its version. Every list begins
            // with the fields of version 2, and nobody writes to it while the library is loaded.
            let functions = unsafe { *list.cast::<sys::CK_FUNCTION_LIST>() };
            if functions.version.major >= 3 {
                // SAFETY: as above; lists of version 3 and later begin with the fields of 3.0.
                let newer = unsafe { *list.cast::<sys::CK_FUNCTION_LIST_3_0>() };
                let messages = Some(Messages {
                    init: newer.C_MessageEncryptInit,
                    encrypt: newer.C_EncryptMessage,
                    end: newer.C_MessageEncryptFinal,
                });
                return Ok(Self {
                    functions,
                    messages,
                    _library: library,
                });
            }
        }
        let get_list = library.C_GetFunctionList.as_ref().map_err(|_| {
            TokenError::Module("lacks the symbol C_GetFunctionList: it is no PKCS#11 module".to_owned())
        })?;
        let mut list = ptr::null_mut();
        // SAFETY: `list` outlives the call, which sets it.
        check("C_GetFunctionList", unsafe { get_list(&raw mut list) })?;
        // SAFETY: NULL, or the module's own list, to which nobody writes while the library is loaded.
        let functions = *unsafe { list.as_ref() }
            .ok_or_else(|| TokenError::Module("has a C_GetFunctionList that gives nothing".to_owned()))?;
        Ok(Self {
            functions,
            messages: None,
            _library: library,
        })
    }

    /// Encrypts with one `C_Encrypt`, without asking for the size first. Returns the length of the output.
    pub(crate) fn encrypt(
        &self,
        session: &Session,
        key: ObjectHandle,
        mechanism: CipherParams<'_>,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, TokenError> {
        let init = Function("C_EncryptInit", self.functions.C_EncryptInit);
        let run = Function("C_Encrypt", self.functions.C_Encrypt);
        one_part(init, run, (session, key), mechanism, plaintext, output)
    }

    /// Decrypts with one `C_Decrypt`. Returns the length of the output. Some tokens need room for all of `ciphertext`.
    pub(crate) fn decrypt(
        &self,
        session: &Session,
        key: ObjectHandle,
        mechanism: CipherParams<'_>,
        ciphertext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, TokenError> {
        let init = Function("C_DecryptInit", self.functions.C_DecryptInit);
        let run = Function("C_Decrypt", self.functions.C_Decrypt);
        one_part(init, run, (session, key), mechanism, ciphertext, output)
    }

    /// Encrypts one message by AES-GCM. Returns the length of the ciphertext in `output`.
    pub(crate) fn encrypt_message(
        &self,
        session: &Session,
        key: ObjectHandle,
        message: GcmMessage<'_>,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, TokenError> {
        let GcmMessage {
            iv,
            token_makes_iv,
            associated_data,
            tag,
        } = message;
        let messages = self.messages.as_ref();
        let init = Function("C_MessageEncryptInit", messages.and_then(|functions| functions.init));
        let run = Function("C_EncryptMessage", messages.and_then(|functions| functions.encrypt));
        let end = Function("C_MessageEncryptFinal", messages.and_then(|functions| functions.end));
        let mut mechanism = of(sys::CKM_AES_GCM, ptr::null_mut::<c_void>(), 0);
        // SAFETY: `mechanism` outlives the call; it has no parameter, since each message brings its own.
        let value = unsafe { init.get()?(session.handle(), &raw mut mechanism, key.handle()) };
        check(init.0, value)?;
        let mut parameter = sys::CK_GCM_MESSAGE_PARAMS {
            ulIvLen: length_of(iv),
            pIv: iv.as_mut_ptr(),
            ulIvFixedBits: 0,
            ivGenerator: if token_makes_iv {
                sys::CKG_GENERATE_RANDOM
            } else {
                sys::CKG_NO_GENERATE
            },
            pTag: tag.as_mut_ptr(),
            ulTagBits: 128,
        };
        let mut length = length_of(output);
        // SAFETY: every pointer is of a live buffer with the length beside it; IV, tag and output are borrowed mutably.
        let value = unsafe {
            run.get()?(
                session.handle(),
                (&raw mut parameter).cast(),
                bytes_of(&parameter),
                associated_data.as_ptr().cast_mut(),
                length_of(associated_data),
                plaintext.as_ptr().cast_mut(),
                length_of(plaintext),
                output.as_mut_ptr(),
                &raw mut length,
            )
        };
        let length = judge_length(run.0, value, length, output.len())?;
        // SAFETY: takes no pointer.
        check(end.0, unsafe { end.get()?(session.handle()) })?;
        Ok(length)
    }

    /// Reads an attribute with one `C_GetAttributeValue`, without asking for its length first; `None` if the token does
    /// not have or disclose it, or if it is longer than the buffer.
    pub(crate) fn attribute<'b>(
        &self,
        session: &Session,
        object: ObjectHandle,
        attribute: AttributeType,
        buffer: &'b mut [u8],
    ) -> Result<Option<&'b [u8]>, TokenError> {
        let function = Function("C_GetAttributeValue", self.functions.C_GetAttributeValue);
        let mut asked = sys::CK_ATTRIBUTE {
            type_: attribute.into(),
            pValue: buffer.as_mut_ptr().cast(),
            ulValueLen: length_of(buffer),
        };
        // SAFETY: `asked` outlives the call, and points to a live buffer of the length beside it, borrowed mutably.
        match unsafe { function.get()?(session.handle(), object.handle(), &raw mut asked, 1) } {
            sys::CKR_ATTRIBUTE_SENSITIVE | sys::CKR_ATTRIBUTE_TYPE_INVALID | sys::CKR_BUFFER_TOO_SMALL => Ok(None),
            value => check(function.0, value)
                .map(|()| usize::try_from(asked.ulValueLen).ok().and_then(|end| buffer.get(..end))),
        }
    }

    /// The description of the token in a slot, byte for byte.
    pub(crate) fn token_info(&self, slot: Slot) -> Result<sys::CK_TOKEN_INFO, TokenError> {
        let function = Function("C_GetTokenInfo", self.functions.C_GetTokenInfo);
        let mut info = sys::CK_TOKEN_INFO::default();
        // SAFETY: `info` outlives the call, which fills it; every bit pattern is valid for its integers.
        check(function.0, unsafe { function.get()?(slot.into(), &raw mut info) })?;
        Ok(info)
    }

    /// Every mechanism that the token in a slot lists, by its number.
    pub(crate) fn mechanisms(&self, slot: Slot) -> Result<Vec<u64>, TokenError> {
        let function = Function("C_GetMechanismList", self.functions.C_GetMechanismList);
        let call = function.get()?;
        let mut count: CK_ULONG = 0;
        // SAFETY: NULL asks for the number of mechanisms alone; `count` outlives the call.
        check(function.0, unsafe {
            call(slot.into(), ptr::null_mut(), &raw mut count)
        })?;
        let mut list = vec![0; usize::try_from(count.min(MOST_MECHANISMS)).unwrap_or_default()];
        let mut listed = length_of(&list);
        // SAFETY: `list` has room for `listed` numbers.
        check(function.0, unsafe {
            call(slot.into(), list.as_mut_ptr(), &raw mut listed)
        })?;
        list.truncate(usize::try_from(listed).unwrap_or(usize::MAX));
        Ok(list)
    }
}

impl fmt::Debug for Calls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let version = self.functions.version;
        write!(f, "Calls(PKCS#11 {}.{})", version.major, version.minor)
    }
}

/// A function by its name; a module may lack any of them.
#[derive(Clone, Copy)]
struct Function<F>(&'static str, Option<F>);

impl<F: Copy> Function<F> {
    fn get(&self) -> Result<F, TokenError> {
        self.1
            .ok_or_else(|| TokenError::call(self.0, ReturnValue::FUNCTION_NOT_SUPPORTED))
    }
}

type Init = unsafe extern "C" fn(sys::CK_SESSION_HANDLE, *mut sys::CK_MECHANISM, sys::CK_OBJECT_HANDLE) -> CK_RV;
type Run = unsafe extern "C" fn(sys::CK_SESSION_HANDLE, *mut u8, CK_ULONG, *mut u8, *mut CK_ULONG) -> CK_RV;

/// The function list of the module's default interface, which cryptoki uses too; none before version 3.0.
fn newest_list(library: &sys::Pkcs11) -> Result<Option<*const c_void>, TokenError> {
    let Ok(get_interface) = &library.C_GetInterface else {
        return Ok(None);
    };
    let mut interface: *mut sys::CK_INTERFACE = ptr::null_mut();
    // SAFETY: without name and version it sets `interface`, which outlives the call, to the default one.
    let value = unsafe { get_interface(ptr::null_mut(), ptr::null_mut(), &raw mut interface, 0) };
    check("C_GetInterface", value)?;
    // SAFETY: NULL, or the module's own interface, to which nobody writes while the library is loaded.
    let interface = unsafe { interface.as_ref() };
    Ok(interface
        .map(|interface| interface.pFunctionList.cast_const())
        .filter(|list| !list.is_null()))
}

fn one_part(
    init: Function<Init>,
    run: Function<Run>,
    (session, key): (&Session, ObjectHandle),
    mechanism: CipherParams<'_>,
    input: &[u8],
    output: &mut [u8],
) -> Result<usize, TokenError> {
    let (init_call, run_call) = (init.get()?, run.get()?);
    // The parameters live until this function ends: a token may write to the IV as late as in C_Encrypt.
    let (mut gcm, mut oaep, mut cbc_iv);
    let mut raw = match mechanism {
        CipherParams::AesGcm { iv, associated_data } => {
            gcm = gcm_parameter(iv, associated_data);
            of(sys::CKM_AES_GCM, &raw mut gcm, bytes_of(&gcm))
        }
        CipherParams::AesKwp => of(sys::CKM_AES_KEY_WRAP_KWP, ptr::null_mut::<c_void>(), 0),
        CipherParams::AesCbc(iv) => {
            cbc_iv = iv;
            of(sys::CKM_AES_CBC, &raw mut cbc_iv, bytes_of(&cbc_iv))
        }
        CipherParams::RsaOaep(hash) => {
            oaep = oaep_parameter(hash);
            of(sys::CKM_RSA_PKCS_OAEP, &raw mut oaep, bytes_of(&oaep))
        }
    };
    // SAFETY: `raw` and all that it points to are alive and of the lengths beside them until this function ends; the
    // buffers in a GCM parameter are borrowed for as long, the IV mutably.
    check(init.0, unsafe {
        init_call(session.handle(), &raw mut raw, key.handle())
    })?;
    let mut length = length_of(output);
    // SAFETY: input and output are live buffers of the lengths beside them, the output borrowed mutably. A session is
    // no `Sync`: no other thread is inside an operation of this one.
    let value = unsafe {
        run_call(
            session.handle(),
            input.as_ptr().cast_mut(),
            length_of(input),
            output.as_mut_ptr(),
            &raw mut length,
        )
    };
    judge_length(run.0, value, length, output.len())
}

fn of<T>(mechanism: sys::CK_MECHANISM_TYPE, parameter: *mut T, length: CK_ULONG) -> sys::CK_MECHANISM {
    sys::CK_MECHANISM {
        mechanism,
        pParameter: parameter.cast(),
        ulParameterLen: length,
    }
}

fn gcm_parameter(iv: GcmIv<'_>, associated_data: &[u8]) -> sys::CK_GCM_PARAMS {
    let (iv, length, bits) = match iv {
        GcmIv::Buffer(iv) => {
            let length = length_of(iv);
            (iv.as_mut_ptr(), length, 8 * length)
        }
        GcmIv::None { length } => (ptr::null_mut(), 0, 8 * length as CK_ULONG),
    };
    sys::CK_GCM_PARAMS {
        pIv: iv,
        ulIvLen: length,
        ulIvBits: bits,
        pAAD: associated_data.as_ptr().cast_mut(),
        ulAADLen: length_of(associated_data),
        ulTagBits: 128,
    }
}

fn oaep_parameter(hash: OaepHash) -> sys::CK_RSA_PKCS_OAEP_PARAMS {
    let (hash, mask) = match hash {
        OaepHash::Sha256 => (sys::CKM_SHA256, sys::CKG_MGF1_SHA256),
        OaepHash::Sha1 => (sys::CKM_SHA_1, sys::CKG_MGF1_SHA1),
    };
    sys::CK_RSA_PKCS_OAEP_PARAMS {
        hashAlg: hash,
        mgf: mask,
        source: sys::CKZ_DATA_SPECIFIED,
        pSourceData: ptr::null_mut(),
        ulSourceDataLen: 0,
    }
}

fn check(function: &str, value: CK_RV) -> Result<(), TokenError> {
    if value == sys::CKR_OK {
        Ok(())
    } else {
        Err(TokenError::call(function, ReturnValue(value)))
    }
}

/// Checks a length that the token reports: it must not exceed the buffer, which is larger than any right result.
fn judge_length(function: &str, value: CK_RV, length: CK_ULONG, room: usize) -> Result<usize, TokenError> {
    let too_long = value == sys::CKR_BUFFER_TOO_SMALL;
    if !too_long {
        check(function, value)?;
    }
    match usize::try_from(length) {
        Ok(length) if length <= room && !too_long => Ok(length),
        _ => Err(TokenError::Misbehaved(format!(
            "returns {length} bytes for {function}, but no right result has more than {room}"
        ))),
    }
}

// A length in memory fits CK_ULONG, which is as wide as `usize` on Linux.
fn length_of<T>(slice: &[T]) -> CK_ULONG {
    slice.len() as CK_ULONG
}

fn bytes_of<T>(value: &T) -> CK_ULONG {
    size_of_val(value) as CK_ULONG
}
