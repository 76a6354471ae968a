//! Huffman's code of HPACK (RFC 7541, appendix B), from the lengths of its codes: shorter before longer, then by symbol.

use std::sync::LazyLock;

#[rustfmt::skip]
pub(crate) const LENGTHS: [u8; 256] = [
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6, 5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5, 6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23, 24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23, 21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25, 19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23, 26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

static CODES: LazyLock<[u32; 256]> = LazyLock::new(|| {
    let mut symbols: Vec<u8> = (0..=255).collect();
    symbols.sort_by_key(|symbol| LENGTHS[usize::from(*symbol)]);
    let (mut codes, mut next, mut length) = ([0; 256], 0, 0);
    for symbol in symbols {
        let symbol = usize::from(symbol);
        next <<= LENGTHS[symbol] - length;
        length = LENGTHS[symbol];
        codes[symbol] = next;
        next += 1;
    }
    codes
});

/// The text in Huffman's code, filled up with ones.
pub(crate) fn coded(text: &[u8]) -> Vec<u8> {
    let (mut coded, mut pending, mut bits) = (Vec::new(), 0_u64, 0);
    for symbol in text {
        let length = LENGTHS[usize::from(*symbol)];
        pending = pending << length | u64::from(CODES[usize::from(*symbol)]);
        bits += length;
        while bits >= 8 {
            bits -= 8;
            coded.push((pending >> bits & 0xff) as u8);
        }
        pending &= (1 << bits) - 1;
    }
    if bits > 0 {
        coded.push((pending << (8 - bits) | (0xff >> bits)) as u8);
    }
    coded
}
