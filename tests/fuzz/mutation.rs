//! Changes inputs at random, as a fuzzer does: bits, bytes, ranges, lines, and words that parsers find hard.

use std::ops::Range;

use crate::random::Random;

/// No input is longer; the fuzzer has the same limit.
pub(crate) const LONGEST: usize = 4096;

/// What may replace a word.
const WORDS: [&str; 24] = [
    "",
    "0",
    "-1",
    "65535",
    "18446744073709551616",
    "1e999",
    "0x1f",
    "null",
    "~",
    "true",
    "off",
    "\"",
    "'",
    "[]",
    "{}",
    "{",
    "&a [*a]",
    "<<: *a",
    "!!binary aa==",
    "2026-02-30T25:61:61Z",
    "9999999999d",
    "\u{202e}",
    "\0",
    "\u{feff}",
];

/// One of the seeds after one to four changes.
pub(crate) fn mutated(random: &mut Random, seeds: &[Vec<u8>]) -> Vec<u8> {
    let mut input = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let other = &seeds[random.below(seeds.len())];
        change(random, &mut input, other);
    }
    input.truncate(LONGEST);
    input
}

fn change(random: &mut Random, input: &mut Vec<u8>, other: &[u8]) {
    let range = range(random, input.len());
    match random.below(10) {
        0 => {
            if let Some(byte) = input.get_mut(range.start) {
                *byte ^= 1 << random.below(8);
            }
        }
        1 => {
            if let Some(byte) = input.get_mut(range.start) {
                *byte = [0, 1, 0x7f, 0x80, 0xff, random.next() as u8][random.below(6)];
            }
        }
        2 => {
            let longest = [8, 8, 8, 400][random.below(4)];
            let length = 1 + random.below(longest);
            let inserted = random.bytes(length);
            input.splice(range.start..range.start, inserted);
        }
        3 => drop(input.drain(range)),
        4 => {
            let twice = input[range.clone()].to_vec();
            input.splice(range.start..range.start, twice);
        }
        5 => {
            input.truncate(range.start);
            input.extend_from_slice(&other[random.below(other.len())..]);
        }
        6 => drop(input.drain(part(random, input, |byte| byte == b'\n'))),
        7 => {
            let line = other[part(random, other, |byte| byte == b'\n')].to_vec();
            let place = part(random, input, |byte| byte == b'\n').start;
            input.splice(place..place, line);
        }
        8 => {
            let word = part(random, input, |byte| !byte.is_ascii_alphanumeric());
            input.splice(word, random.pick(&WORDS).bytes());
        }
        _ => {
            let word = other[part(random, other, |byte| !byte.is_ascii_alphanumeric())].to_vec();
            let place = part(random, input, |byte| !byte.is_ascii_alphanumeric());
            input.splice(place, word);
        }
    }
}

/// A range of at most 40 bytes, maybe empty.
fn range(random: &mut Random, length: usize) -> Range<usize> {
    let start = random.below(length + 1);
    start..start + random.below((length - start).min(40) + 1)
}

/// The part around a random place between two bytes that separate: a line, or a word.
fn part(random: &mut Random, input: &[u8], separates: impl Fn(u8) -> bool) -> Range<usize> {
    let place = random.below(input.len());
    let before = input[..place].iter().rposition(|byte| separates(*byte));
    let behind = input[place..].iter().position(|byte| separates(*byte));
    before.map_or(0, |before| before + 1)..behind.map_or(input.len(), |behind| place + behind)
}
