//! Fuzzes the adapter of `:authority`.

#![no_main]

#[path = "../authority/differential.rs"]
mod authority;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    authority::check(input);
});
