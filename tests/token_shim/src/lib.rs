//! A PKCS#11 module for tests that forwards to SoftHSM and misbehaves as a control file says.
//!
//! | variable | what |
//! |---|---|
//! | `DEKHAND_SHIM_CONTROL` | the control file; without it, or while it is missing, everything is forwarded |
//! | `DEKHAND_SHIM_CALLS` | each call appends a line here: `PID C_Name` |
//! | `DEKHAND_SHIM_MODULE` | SoftHSM, if it is not at [`softhsm`] |
//!
//! The control file is looked at before each call. Everything counted is counted in files beside it, over
//! re-initialisations and over processes; a control file written anew (renamed into place) starts new counts.
//! Values are decimal or hexadecimal (`0x30`), `#` begins a comment. A line that is not understood aborts the process.
//!
//! # Faults
//!
//! `FUNCTION ACTION [after N] [times N]`; `FUNCTION` is `*` or one or more names with commas: `C_Encrypt,C_Decrypt`.
//! `after` leaves the first N calls in peace, `times` ends it after N more.
//!
//! | action | what |
//! |---|---|
//! | `delay 5ms` | sleeps before the call (`us`, `ms`, `s`) |
//! | `fail 0x30` | answers this and forwards nothing, so that an operation stays active |
//! | `hang` | never returns |
//! | `crash` | writes to an address that is not mapped: SIGSEGV |
//! | `abort` | SIGABRT, as a heap that finds itself corrupt |
//! | `exit [CODE]` | ends the process |
//! | `leak 64MiB` | allocates and fills so much (`KiB`, `MiB`), for ever; `CKR_HOST_MEMORY` when there is no more |
//! | `noise` | writes to stdout and stderr |
//! | `flip`, `longer`, `shorter` | a bit of the output, a byte too many, too few; of the functions that give ciphertext or plaintext |
//!
//! # Events
//!
//! Once in each process whenever the control file is written anew, before the next call:
//!
//! | line | what |
//! |---|---|
//! | `sessions lost [VALUE]` | every open session is closed and the login with it; the old handles answer VALUE, by default 0xB3 |
//! | `logged out [VALUE]` | until `C_Login`, private objects are not found, without an error, and an operation with a key answers VALUE, by default 0x101 |
//!
//! # What kind of token it is
//!
//! | line | what |
//! |---|---|
//! | `finds nothing [after N] [times N]` | `C_FindObjects` gives no object, also after login |
//! | `pin locks N [silent]` | N wrong PINs lock it: 0xA4, to the right one too; the right one before that resets the count; the token's flags say how it stands, unless `silent` |
//! | `wrong-pin VALUE`, `wrong-pin hang` | a wrong PIN is counted as ever, and answered with VALUE or not at all |
//! | `login already` | `C_Login` answers 0x100, whatever the PIN; logged in is who gave the right one |
//! | `read-only refused [VALUE]` | no read-only sessions: 0xB4 |
//! | `throttle N` | more than N `C_Encrypt` and `C_Decrypt` in a second: 0x30 |
//! | `decrypt-error VALUE` | what a `C_Decrypt` that fails answers |
//! | `like NAME` | how AES-GCM works, see [`control::Like`]: `luna`, `luna12`, `cloudhsm`, `protectserver`, `v3` |
//! | `kwp` | has `CKM_AES_KEY_WRAP_KWP` through `C_Encrypt` |
//! | `no MECHANISM` | has not: not listed, and 0x70; `gcm`, `kwp`, `cbc`, `oaep`, `aes-key-gen` or a number |
//! | `refuse MECHANISM [VALUE]` | lists it and answers VALUE, by default 0x70 |
//! | `hang MECHANISM` | an operation with it never begins, and no later call of the process is answered: a module that does one call at a time |
//! | `exchanged ID OTHER` | operations with the AES key that has this CKA_ID (hexadecimal) use the key OTHER: a module that gives the handle of a destroyed object to the next one |
//! | `constant-iv` | AES-GCM under an IV of zeros, whatever the caller gives |
//! | `no-tamper-detection` | AES-GCM with an IV of 12 bytes and KWP decrypt what was tampered with |
//! | `weak-template` | makes keys that are not sensitive and extractable, whatever the template says |
//! | `public-template` | makes public keys, whatever the template says |
//! | `search-ignores CKA_X` | `C_FindObjectsInit` does not look at this attribute of its template |
//! | `search-refuses CKA_X [VALUE]` | `C_FindObjectsInit` answers a template with it with VALUE, by default 0x12 |
//! | `refuse-attribute CKA_X[=true] [VALUE]` | a template with it (and this value) answers VALUE, by default 0x12 |
//! | `hide-attribute CKA_X` | `C_GetAttributeValue` knows no such attribute |
//! | `serial TEXT`, `serial` | the serial number that the token gives, or an empty one |
//! | `odd-clock` | claims a clock and shows no time that can be read |
//! | `protected-path PIN` | asks for its PIN at a device of its own, where somebody always types this one |
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

/// Where the module lies that cargo built along with the running test.
///
/// # Panics
///
/// If it is not there.
pub fn path() -> PathBuf {
    let program = std::env::current_exe().expect("the running test has a path");
    // Tests run from `deps`; programs and the shim alone lie in the directory above.
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
