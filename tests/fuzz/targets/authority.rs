//! The adapter of `:authority`: whatever a connection sends, in whatever parts, the headers behind it are the headers before
//! it but for the authority.

#![no_main]

#[path = "../authority/differential.rs"]
mod authority;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    authority::check(input);
});
