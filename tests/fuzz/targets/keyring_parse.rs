//! Fuzzes the reader of the keyring file.

#![no_main]

#[path = "../checks/keyring_parse.rs"]
mod keyring_parse;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    keyring_parse::check(input);
});
