//! SoftHSM, the module that gets the forwarded calls.

use std::mem::MaybeUninit;
use std::sync::OnceLock;

use cryptoki_sys::CK_FUNCTION_LIST;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CKR_OK;
use libloading::Library;
use libloading::Symbol;

/// The variable with the path of another module.
pub(crate) const VARIABLE: &str = "DEKHAND_SHIM_MODULE";

/// The path in distributions.
pub(crate) const PLACES: [&str; 4] = [
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib64/pkcs11/libsofthsm2.so",
    "/usr/lib64/softhsm/libsofthsm2.so",
    "/usr/local/lib/softhsm/libsofthsm2.so",
];

/// The functions of the real module, loaded once and never unloaded.
pub(crate) fn functions() -> &'static CK_FUNCTION_LIST {
    static FUNCTIONS: OnceLock<&'static CK_FUNCTION_LIST> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        let path = crate::softhsm();
        // SAFETY: SoftHSM's initialisers and its function list are trusted.
        unsafe {
            let library = Library::new(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            let library = Box::leak(Box::new(library));
            let get: Symbol<unsafe extern "C" fn(*mut *const CK_FUNCTION_LIST) -> CK_RV> =
                library.get(b"C_GetFunctionList").expect("a PKCS#11 module");
            let mut list = MaybeUninit::uninit();
            assert_eq!(get(list.as_mut_ptr()), CKR_OK, "C_GetFunctionList");
            &*list.assume_init()
        }
    })
}

/// Calls a function of the real module: `real!(C_Encrypt(session, ...))`.
macro_rules! real {
    ($name:ident($($argument:expr),* $(,)?)) => {
        ($crate::real::functions().$name.expect("SoftHSM has every function"))($($argument),*)
    };
}
pub(crate) use real;
