//! Fuzzes the messages between daemon, spawner and workers.

#![no_main]

#[path = "../checks/token_worker.rs"]
mod token_worker;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    token_worker::check(input);
});
