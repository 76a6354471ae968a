//! Fuzzes `Decrypt`.

#![no_main]

#[path = "../checks/decrypt.rs"]
mod decrypt;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    decrypt::check(input);
});
