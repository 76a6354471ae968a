//! A PKCS#11 module for tests that forwards to SoftHSM and misbehaves as a control file demands.
//!
//! | variable | meaning |
//! |---|---|
//! | `DEKHAND_SHIM_CONTROL` | the control file; without it, or while it is missing, everything is forwarded |
//! | `DEKHAND_SHIM_CALLS` | each call appends a line here: `PID C_Name` |
//! | `DEKHAND_SHIM_MODULE` | SoftHSM, if it is not at [`softhsm`] |
//!
//! The control file is checked before each call. All counts are kept in files beside it, over re-initialisations and
//! over processes; a new control file (renamed into place) starts new counts. Values are decimal or hexadecimal
//! (`0x30`), `#` begins a comment. An invalid line aborts the process.
//!
//! # Faults
//!
//! `FUNCTION ACTION [after N] [times N]`; `FUNCTION` is `*` or one or more names with commas: `C_Encrypt,C_Decrypt`.
//! `after` skips the first N calls, `times` ends the fault after N more.
//!
//! | action | effect |
//! |---|---|
//! | `delay 5ms` | sleeps before the call (`us`, `ms`, `s`) |
//! | `fail 0x30` | returns this value and forwards nothing, so that an operation stays active |
//! | `hang` | never returns |
//! | `crash` | writes to an address that is not mapped: SIGSEGV |
//! | `abort` | SIGABRT, as after heap corruption |
//! | `exit [CODE]` | ends the process |
//! | `leak 64MiB` | allocates and fills this much (`KiB`, `MiB`), for ever; `CKR_HOST_MEMORY` when there is no more |
//! | `noise` | writes to stdout and stderr |
//! | `flip`, `longer`, `shorter` | flips a bit of the output, or gives a byte too many or too few; for the functions that return ciphertext or plaintext |
//!
//! # Events
//!
//! Once in each process for every new control file, before the next call:
//!
//! | line | effect |
//! |---|---|
//! | `sessions lost [VALUE]` | every open session is closed and the login with it; the old handles return VALUE, by default 0xB3 |
//! | `logged out [VALUE]` | until `C_Login`, private objects are not found, without an error, and an operation with a key returns VALUE, by default 0x101 |
//!
//! # What kind of token it is
//!
//! | line | effect |
//! |---|---|
//! | `finds nothing [after N] [times N]` | `C_FindObjects` returns no object, even after login |
//! | `pin locks N [silent]` | N wrong PINs lock it: 0xA4, for the right one too; the right one before that resets the count; the token's flags show the count, unless `silent` |
//! | `wrong-pin VALUE`, `wrong-pin hang` | a wrong PIN is counted as usual, and `C_Login` returns VALUE or never returns |
//! | `login already` | `C_Login` returns 0x100 for every PIN, but logs in only with the right one |
//! | `read-only refused [VALUE]` | no read-only sessions: 0xB4 |
//! | `throttle N` | more than N `C_Encrypt` and `C_Decrypt` in a second: 0x30 |
//! | `decrypt-error VALUE` | the return value of a failed `C_Decrypt` |
//! | `like NAME` | the behaviour of AES-GCM, see [`control::Like`]: `luna`, `luna12`, `cloudhsm`, `protectserver`, `v3` |
//! | `kwp` | supports `CKM_AES_KEY_WRAP_KWP` through `C_Encrypt` |
//! | `no MECHANISM` | does not support it: not listed, and 0x70; `gcm`, `kwp`, `cbc`, `oaep`, `aes-key-gen` or a number |
//! | `refuse MECHANISM [VALUE]` | lists it and returns VALUE, by default 0x70 |
//! | `hang MECHANISM` | an operation with it never begins, and no later call of the process returns: a module that makes one call at a time |
//! | `exchanged ID OTHER` | operations with the AES key that has this CKA_ID (hexadecimal) use the key OTHER: a module that gives the handle of a destroyed object to the next one |
//! | `constant-iv` | AES-GCM under an IV of zeros, whatever the caller gives |
//! | `no-tamper-detection` | AES-GCM with an IV of 12 bytes and KWP decrypt a changed ciphertext |
//! | `weak-template` | makes keys that are extractable and not sensitive, whatever the template says |
//! | `public-template` | makes public keys, whatever the template says |
//! | `search-ignores CKA_X` | `C_FindObjectsInit` ignores this attribute of its template |
//! | `search-refuses CKA_X [VALUE]` | `C_FindObjectsInit` returns VALUE for a template with it, by default 0x12 |
//! | `refuse-attribute CKA_X[=true] [VALUE]` | a template with it (and this value) gives VALUE, by default 0x12 |
//! | `hide-attribute CKA_X` | `C_GetAttributeValue` does not support this attribute |
//! | `serial TEXT`, `serial` | the serial number that the token gives, or an empty one |
//! | `odd-clock` | has the flag of a clock, but an unreadable time |
//! | `protected-path PIN` | has a PIN pad, on which this PIN is always typed |
//! | `vendor-user NUMBER` | the user is of this type instead of `CKU_USER` |

pub mod alone;
mod attribute;
pub mod calls;
pub mod control;
mod counts;
mod crypt;
mod faults;
mod flights;
mod gcm;
mod kwp;
mod limits;
mod login;
mod mechanisms;
mod message;
mod module;
mod objects;
mod plant;
mod real;
mod sessions;
mod shown;
pub mod token;

use std::path::Path;
use std::path::PathBuf;

/// The path of the module that cargo has built along with the running test.
///
/// # Panics
///
/// If it does not exist.
pub fn path() -> PathBuf {
    let program = std::env::current_exe().expect("the running test has a path");
    // Tests run from `deps`; programs and the shim alone are in the directory above.
    let places = program.ancestors().skip(1).take(2);
    let file = "libtoken_shim.so";
    let found = places.map(|directory| directory.join(file)).find(|path| path.exists());
    found.unwrap_or_else(|| {
        panic!(
            "no {file} beside {}: is token-shim a (dev-)dependency of this crate, or was `cargo build -p token-shim` run?",
            program.display()
        )
    })
}

/// The path of SoftHSM's module.
///
/// # Panics
///
/// If it is not installed.
pub fn softhsm() -> PathBuf {
    if let Some(path) = std::env::var_os(real::VARIABLE) {
        return path.into();
    }
    let known = real::PLACES.iter().map(Path::new).find(|path| path.exists());
    known
        .unwrap_or_else(|| panic!("SoftHSM is missing, the token of the tests: apt-get install softhsm2"))
        .to_owned()
}
