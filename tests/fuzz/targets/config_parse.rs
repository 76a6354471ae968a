//! Fuzzes the reader of the configuration.

#![no_main]

#[path = "../checks/config_parse.rs"]
mod config_parse;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    config_parse::check(input);
});
