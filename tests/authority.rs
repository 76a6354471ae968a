//! Holds the adapter of `:authority` to an independent decoder of HPACK, with many connections of random contents.

#![allow(
    clippy::cast_possible_truncation,
    reason = "random bytes are taken from larger integers"
)]

#[path = "fuzz/authority/differential.rs"]
mod authority;

/// Enough that every part of the adapter is met many times; the fuzzer goes further.
const CONNECTIONS: u64 = 10_000;

/// SplitMix64: the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

#[test]
fn every_block_of_every_connection_decodes_to_the_same_headers_but_for_the_authority() {
    let (mut blocks, mut mended) = (0, 0);
    for seed in 0..CONNECTIONS {
        let mut random = Random(seed);
        let length = random.next() % 600;
        let mut input: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
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
