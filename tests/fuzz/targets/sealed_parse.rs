//! Fuzzes the parser of the sealed format.

#![no_main]

#[path = "../checks/sealed_parse.rs"]
mod sealed_parse;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    sealed_parse::check(input);
});
