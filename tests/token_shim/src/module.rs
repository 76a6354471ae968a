//! The functions of the module. Those that dekhand does not use are `SoftHSM`'s own.

#![allow(
    non_snake_case,
    clippy::similar_names,
    clippy::too_many_arguments,
    reason = "as the standard has them"
)]

use std::ffi::c_void;
use std::sync::OnceLock;

use cryptoki_sys::*;

use crate::calls;
use crate::control;
use crate::control::Like;
use crate::crypt;
use crate::faults;
use crate::flights;
use crate::login;
use crate::mechanisms;
use crate::message;
use crate::objects;
use crate::real;
use crate::real::real;
use crate::sessions;
use crate::shown;

/// Runs before a call is forwarded. Returns the result if it is not to be forwarded.
fn enter(function: &str, session: Option<CK_SESSION_HANDLE>) -> Option<CK_RV> {
    calls::record(function);
    let control = control::current();
    sessions::events(&control);
    let lost = session.and_then(|session| sessions::lost(&control, session));
    faults::before(&control, function).or(lost)
}

/// The exported functions: each is recorded, gets its faults, and then calls SoftHSM, or the function behind the arrow.
macro_rules! functions {
    ($(#[$what:meta])* $table:ident: $list:ty;
     $($name:ident($($argument:ident: $type:ty),*) $(in $session:ident)? => $own:expr;)*) => {
        $(
            unsafe extern "C" fn $name($($argument: $type),*) -> CK_RV {
                let session: Option<CK_SESSION_HANDLE> = None$(.or(Some($session)))?;
                let _inside = flights::begin(stringify!($name));
                if let Some(answer) = enter(stringify!($name), session) {
                    return answer;
                }
                $own($($argument),*)
            }
        )*

        $(#[$what])*
        fn $table(list: &mut $list) -> &'static [&'static str] {
            $(list.$name = Some($name);)*
            &[$(stringify!($name)),*]
        }
    };
}

/// A function of SoftHSM's under the lock that keeps its sessions open.
macro_rules! forward {
    ($name:ident($($argument:ident),*)) => {
        |$($argument),*| {
            let _inside = sessions::inside();
            real!($name($($argument),*))
        }
    };
}

functions! {
    /// Puts them into a list; returns their names.
    version_2: CK_FUNCTION_LIST;
    C_Initialize(arguments: *mut c_void) => forward!(C_Initialize(a));
    C_Finalize(reserved: *mut c_void) => sessions::finalize;
    C_GetInfo(info: *mut CK_INFO) => forward!(C_GetInfo(a));
    C_GetSlotList(present: CK_BBOOL, list: *mut CK_SLOT_ID, count: *mut CK_ULONG) => forward!(C_GetSlotList(a, b, c));
    C_GetSlotInfo(slot: CK_SLOT_ID, info: *mut CK_SLOT_INFO) => forward!(C_GetSlotInfo(a, b));
    C_GetTokenInfo(slot: CK_SLOT_ID, info: *mut CK_TOKEN_INFO) => shown::token_info;
    C_GetMechanismList(slot: CK_SLOT_ID, list: *mut CK_MECHANISM_TYPE, count: *mut CK_ULONG) => mechanisms::list;
    C_GetMechanismInfo(slot: CK_SLOT_ID, kind: CK_MECHANISM_TYPE, info: *mut CK_MECHANISM_INFO) => mechanisms::info;
    C_OpenSession(slot: CK_SLOT_ID, flags: CK_FLAGS, application: *mut c_void, notify: CK_NOTIFY,
        session: *mut CK_SESSION_HANDLE) => sessions::open;
    C_CloseSession(session: CK_SESSION_HANDLE) in session => sessions::close;
    C_CloseAllSessions(slot: CK_SLOT_ID) => sessions::close_all;
    C_GetSessionInfo(session: CK_SESSION_HANDLE, info: *mut CK_SESSION_INFO) in session
        => forward!(C_GetSessionInfo(a, b));
    C_Login(session: CK_SESSION_HANDLE, user: CK_USER_TYPE, pin: *mut CK_UTF8CHAR, length: CK_ULONG) in session
        => login::login;
    C_Logout(session: CK_SESSION_HANDLE) in session => forward!(C_Logout(a));
    C_CreateObject(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG,
        object: *mut CK_OBJECT_HANDLE) in session => objects::create;
    C_DestroyObject(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE) in session
        => forward!(C_DestroyObject(a, b));
    C_GetAttributeValue(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE,
        count: CK_ULONG) in session => objects::attributes;
    C_SetAttributeValue(session: CK_SESSION_HANDLE, object: CK_OBJECT_HANDLE, template: *mut CK_ATTRIBUTE,
        count: CK_ULONG) in session => objects::set_attributes;
    C_FindObjectsInit(session: CK_SESSION_HANDLE, template: *mut CK_ATTRIBUTE, count: CK_ULONG) in session
        => objects::find_init;
    C_FindObjects(session: CK_SESSION_HANDLE, objects: *mut CK_OBJECT_HANDLE, most: CK_ULONG, count: *mut CK_ULONG)
        in session => objects::find;
    C_FindObjectsFinal(session: CK_SESSION_HANDLE) in session => forward!(C_FindObjectsFinal(a));
    C_EncryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) in session
        => crypt::encrypt_init;
    C_Encrypt(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, length: CK_ULONG, output: *mut CK_BYTE,
        output_length: *mut CK_ULONG) in session => crypt::encrypt;
    C_DecryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) in session
        => crypt::decrypt_init;
    C_Decrypt(session: CK_SESSION_HANDLE, data: *mut CK_BYTE, length: CK_ULONG, output: *mut CK_BYTE,
        output_length: *mut CK_ULONG) in session => crypt::decrypt;
    C_GenerateKey(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, template: *mut CK_ATTRIBUTE,
        count: CK_ULONG, key: *mut CK_OBJECT_HANDLE) in session => objects::generate;
    C_GenerateKeyPair(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, public_template: *mut CK_ATTRIBUTE,
        public_count: CK_ULONG, private_template: *mut CK_ATTRIBUTE, private_count: CK_ULONG,
        public: *mut CK_OBJECT_HANDLE, private: *mut CK_OBJECT_HANDLE) in session
        => forward!(C_GenerateKeyPair(a, b, c, d, e, f, g, h));
    C_SeedRandom(session: CK_SESSION_HANDLE, seed: *mut CK_BYTE, length: CK_ULONG) in session
        => forward!(C_SeedRandom(a, b, c));
    C_GenerateRandom(session: CK_SESSION_HANDLE, random: *mut CK_BYTE, length: CK_ULONG) in session
        => forward!(C_GenerateRandom(a, b, c));
}

functions! {
    /// The functions of version 3.0 that the shim has; the others are absent.
    version_3: CK_FUNCTION_LIST_3_0;
    C_MessageEncryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) in session
        => message::encrypt_init;
    C_EncryptMessage(session: CK_SESSION_HANDLE, parameters: *mut c_void, parameters_length: CK_ULONG,
        associated: *mut CK_BYTE, associated_length: CK_ULONG, data: *mut CK_BYTE, length: CK_ULONG,
        output: *mut CK_BYTE, output_length: *mut CK_ULONG) in session => message::encrypt;
    C_MessageEncryptFinal(session: CK_SESSION_HANDLE) in session => message::encrypt_final;
    C_MessageDecryptInit(session: CK_SESSION_HANDLE, mechanism: *mut CK_MECHANISM, key: CK_OBJECT_HANDLE) in session
        => message::decrypt_init;
    C_DecryptMessage(session: CK_SESSION_HANDLE, parameters: *mut c_void, parameters_length: CK_ULONG,
        associated: *mut CK_BYTE, associated_length: CK_ULONG, data: *mut CK_BYTE, length: CK_ULONG,
        output: *mut CK_BYTE, output_length: *mut CK_ULONG) in session => message::decrypt;
    C_MessageDecryptFinal(session: CK_SESSION_HANDLE) in session => message::decrypt_final;
}

/// Whether a control file may name this function.
pub(crate) fn has(name: &str) -> bool {
    let mut lists = (CK_FUNCTION_LIST::default(), CK_FUNCTION_LIST_3_0::default());
    version_2(&mut lists.0).contains(&name) || version_3(&mut lists.1).contains(&name)
}

/// The lists for callers.
struct Lists {
    version_2: CK_FUNCTION_LIST,
    version_3: CK_FUNCTION_LIST_3_0,
}

fn lists() -> *mut Lists {
    static LISTS: OnceLock<usize> = OnceLock::new();
    let address = LISTS.get_or_init(|| {
        let mut list = *real::functions();
        version_2(&mut list);
        list.C_GetFunctionList = Some(C_GetFunctionList);
        let mut longer = CK_FUNCTION_LIST_3_0::default();
        // SAFETY: by the standard, the longer list begins with the shorter one.
        unsafe { std::ptr::from_mut(&mut longer).cast::<CK_FUNCTION_LIST>().write(list) };
        longer.version = CK_VERSION { major: 3, minor: 0 };
        version_3(&mut longer);
        longer.C_GetInterface = Some(C_GetInterface);
        longer.C_GetInterfaceList = Some(C_GetInterfaceList);
        let lists = Lists {
            version_2: list,
            version_3: longer,
        };
        Box::into_raw(Box::new(lists)).expose_provenance()
    });
    std::ptr::with_exposed_provenance_mut(*address)
}

/// The only interface of the module: of version 3.0 if the control file has such a token, else of 2.40.
fn interface() -> *mut CK_INTERFACE {
    static INTERFACE: OnceLock<usize> = OnceLock::new();
    let address = INTERFACE.get_or_init(|| {
        let lists = lists();
        // SAFETY: the lists live until the process ends.
        let list: *mut c_void = match control::current().like {
            Like::V3 => unsafe { &raw mut (*lists).version_3 }.cast(),
            _ => unsafe { &raw mut (*lists).version_2 }.cast(),
        };
        let interface = CK_INTERFACE {
            pInterfaceName: c"PKCS 11".as_ptr().cast_mut().cast(),
            pFunctionList: list,
            flags: 0,
        };
        Box::into_raw(Box::new(interface)).expose_provenance()
    });
    std::ptr::with_exposed_provenance_mut(*address)
}

/// The module's functions.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn C_GetFunctionList(list: *mut *mut CK_FUNCTION_LIST) -> CK_RV {
    *list = &raw mut (*lists()).version_2;
    CKR_OK
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn C_GetInterface(
    name: *mut CK_UTF8CHAR,
    version: *mut CK_VERSION,
    found: *mut *mut CK_INTERFACE,
    _flags: CK_FLAGS,
) -> CK_RV {
    let interface = interface();
    let offered: *mut CK_VERSION = (*interface).pFunctionList.cast();
    let named = name.is_null() || std::ffi::CStr::from_ptr(name.cast()) == c"PKCS 11";
    let fits = version.is_null() || ((*version).major, (*version).minor) == ((*offered).major, (*offered).minor);
    if !named || !fits {
        return CKR_FUNCTION_FAILED;
    }
    *found = interface;
    CKR_OK
}

#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn C_GetInterfaceList(list: *mut CK_INTERFACE, count: *mut CK_ULONG) -> CK_RV {
    if !list.is_null() {
        if *count < 1 {
            return CKR_BUFFER_TOO_SMALL;
        }
        list.write(interface().read());
    }
    *count = 1;
    CKR_OK
}
