//! Holds what the fuzz targets hold, for their seeds and thousands of mutations of these: no fuzzer is built for it.
//!
//! The mutations follow from a number, `FUZZ_SEED` (0 by default). Each test leaves its seeds where `tests/fuzz/run`
//! finds them.

#![allow(
    clippy::cast_possible_truncation,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::print_stderr,
    clippy::unwrap_used,
    reason = "what does not fit here fails the test, and a failure says how to repeat it"
)]

#[path = "authority/differential.rs"]
mod authority;
mod checks;
mod mutation;
mod random;
mod seeds;

use std::path::Path;

use crate::random::Random;

/// Enough that every part of the adapter is met many times; the fuzzer goes further.
const CONNECTIONS: u64 = 10_000;

/// Says how to repeat the input whose check panics.
struct Repeat<'a> {
    target: &'a str,
    seed: u64,
    number: u64,
    input: &'a [u8],
}

impl Drop for Repeat<'_> {
    fn drop(&mut self) {
        let Self {
            target,
            seed,
            number,
            input,
        } = self;
        if std::thread::panicking() {
            eprintln!(
                "{target} fails with input {number} of FUZZ_SEED={seed}, in hex: {}",
                hex::encode(input)
            );
            eprintln!("again: FUZZ_SEED={seed} cargo test --test fuzz {target}");
        }
    }
}

/// Checks each seed, and mutations. `accepts` says whether an input is good. Every seed must be, and some mutations, and
/// others not, or the test would hold nothing.
fn hold(target: &str, seeds: &[Vec<u8>], mutations: u64, accepts: fn(&[u8]) -> bool) {
    let seed: u64 = std::env::var("FUZZ_SEED").map_or(0, |seed| seed.parse().expect("FUZZ_SEED is a number"));
    let check = |number, input: &[u8]| {
        let _repeat = Repeat {
            target,
            seed,
            number,
            input,
        };
        accepts(input)
    };
    leave(target, seeds);
    for (number, input) in seeds.iter().enumerate() {
        assert!(check(number as u64, input), "{target}: seed-{number} is refused");
    }
    let mut random = Random::new(seed);
    let mut accepted = 0;
    for number in 0..mutations {
        let input = mutation::mutated(&mut random, seeds);
        accepted += u64::from(check(number, &input));
    }
    eprintln!("{target}: FUZZ_SEED={seed}, {mutations} mutations, {accepted} accepted");
    assert!(
        accepted > mutations / 100 && accepted < mutations,
        "{target}: {accepted} of {mutations} mutations accepted: what do they test?"
    );
}

/// Writes the seeds into a directory that `tests/fuzz/run` gives to the fuzzer.
fn leave(target: &str, seeds: &[Vec<u8>]) {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fuzz").join(target);
    std::fs::create_dir_all(&directory).unwrap();
    for (number, seed) in seeds.iter().enumerate() {
        std::fs::write(directory.join(format!("seed-{number}")), seed).unwrap();
    }
}

#[test]
fn sealed_parse_takes_only_what_it_would_write() {
    hold(
        "sealed_parse",
        &seeds::sealed_parse(),
        100_000,
        checks::sealed_parse::check,
    );
}

#[test]
fn decrypt_opens_what_was_sealed_and_nothing_else() {
    hold("decrypt", &seeds::decrypt(), 20_000, checks::decrypt::check);
}

#[test]
fn keyring_parse_takes_only_fitting_digests_and_quotes_no_key() {
    hold(
        "keyring_parse",
        &seeds::keyring_parse(),
        30_000,
        checks::keyring_parse::check,
    );
}

#[test]
fn config_parse_takes_what_can_be_shown_and_loaded_again() {
    hold(
        "config_parse",
        &seeds::config_parse(),
        8_000,
        checks::config_parse::check,
    );
}

#[test]
fn token_worker_messages_read_back_from_their_own_bytes() {
    hold(
        "token_worker",
        &seeds::token_worker(),
        100_000,
        checks::token_worker::check,
    );
}

#[test]
fn authority_is_mended_in_every_mutation_of_a_connection() {
    let reaches = |input: &[u8]| authority::check(input).blocks > 0;
    let mut seeds = seeds::authority();
    // Bytes at random may be no header block at all.
    seeds.retain(|seed| reaches(seed));
    assert!(seeds.len() > 30, "{} seeds reach the decoder", seeds.len());
    hold("authority", &seeds, 10_000, reaches);
}

#[test]
fn every_block_of_every_connection_decodes_to_the_same_headers_but_for_the_authority() {
    let (mut blocks, mut mended) = (0, 0);
    for seed in 0..CONNECTIONS {
        let mut random = Random::new(seed);
        let length = random.next() % 600;
        let mut input = random.bytes(length as usize);
        // Most reads are whole, and most connections are well formed.
        if seed % 2 == 0 {
            input.splice(..input.len().min(4), [0; 4]);
        }
        let outcome = authority::check(&input);
        blocks += outcome.blocks;
        mended += outcome.mended;
    }
    // Or the test would hold nothing.
    assert!(
        blocks > CONNECTIONS && mended > CONNECTIONS,
        "{blocks} blocks, {mended} mended"
    );
}
