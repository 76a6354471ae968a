//! The characters that are valid in an authority, and the replacements that keep the length of a Huffman code.

/// Bits of the longest codes among which a valid character is.
const LONGEST: u8 = 13;

/// The codes of one length in HPACK's Huffman code (RFC 7541, appendix B), up to [`LONGEST`].
struct Row {
    bits: u8,
    /// The lowest code; the others follow it.
    first: u16,
    /// The characters of the codes, in their order.
    symbols: &'static [u8],
    /// The replacement for characters that are invalid in an authority.
    twin: Option<u8>,
}

const ROWS: [Row; 8] = [
    row(5, 0x0, b"012aceiost", None),
    row(6, 0x14, b" %-./3456789=A_bdfghlmnpru", Some(b'-')),
    row(7, 0x5c, b":BCDEFGHIJKLMNOPQRSTUVWYjkqvwxyz", Some(b'x')),
    row(8, 0xf8, b"&*,;XZ", None),
    row(10, 0x3f8, b"!\"()?", Some(b'!')),
    row(11, 0x7fa, b"'+|", Some(b'+')),
    row(12, 0xffa, b"#>", None),
    row(LONGEST, 0x1ff8, b"\0$@[]~", Some(b'~')),
];

const fn row(bits: u8, first: u16, symbols: &'static [u8], twin: Option<u8>) -> Row {
    Row {
        bits,
        first,
        symbols,
        twin,
    }
}

/// The meaning of some bits of the Huffman code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// The beginning of a symbol.
    Begun,
    /// A character that is valid in an authority.
    Good,
    /// An invalid character that can be replaced.
    Bad {
        /// The replacement's code, of the same length.
        twin: u16,
    },
    /// An invalid character that cannot be replaced.
    Hopeless,
}

/// Whether this character is valid at every place of an authority: those of a name in RFC 3986, 3.2.2.
pub(super) fn is_good(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=".contains(&byte)
}

/// The meaning of the last `bits` bits of `code`.
pub(super) fn of(code: u16, bits: u8) -> Code {
    let found = ROWS
        .iter()
        .filter(|row| row.bits == bits)
        .find_map(|row| row.symbol(code).map(|symbol| (row, symbol)));
    match found {
        Some((_, symbol)) if is_good(symbol) => Code::Good,
        Some((row, _)) => row.twin_code().map_or(Code::Hopeless, |twin| Code::Bad { twin }),
        None if bits > LONGEST => Code::Hopeless,
        None => Code::Begun,
    }
}

impl Row {
    fn symbol(&self, code: u16) -> Option<u8> {
        self.symbols.get(usize::from(code.checked_sub(self.first)?)).copied()
    }

    fn twin_code(&self) -> Option<u16> {
        let twin = self.symbols.iter().position(|symbol| Some(*symbol) == self.twin)?;
        Some(self.first + u16::try_from(twin).ok()?)
    }
}

#[cfg(test)]
mod tests {
    use hyper::http::uri::Authority;

    use super::*;

    #[test]
    fn a_twin_is_good_and_every_good_character_makes_an_authority_by_itself() {
        for row in &ROWS {
            assert!(row.twin.is_none_or(|twin| is_good(twin) && row.symbols.contains(&twin)));
        }
        for byte in (0..=u8::MAX).filter(|byte| is_good(*byte)) {
            for text in [[byte].as_slice(), &[byte; 3], &[b'a', byte], &[byte, b'a']] {
                assert!(Authority::try_from(text).is_ok(), "{text:?}");
            }
        }
    }

    #[test]
    fn characters_of_paths_have_twins_and_few_have_none() {
        let judged = |wanted: &dyn Fn(Code) -> bool| -> Vec<u8> {
            let rows = ROWS.iter().flat_map(|row| {
                row.symbols
                    .iter()
                    .zip(row.first..)
                    .map(move |(s, c)| (*s, of(c, row.bits)))
            });
            rows.filter(|(_, code)| wanted(*code))
                .map(|(symbol, _)| symbol)
                .collect()
        };
        assert_eq!(judged(&|code| matches!(code, Code::Bad { .. })), b" %/:\"?|\0@[]");
        assert_eq!(judged(&|code| code == Code::Hopeless), b"#>");
        assert_eq!(of(0x3ffc, 14), Code::Hopeless);
    }

    #[test]
    fn no_code_begins_another() {
        let codes: Vec<_> = ROWS
            .iter()
            .flat_map(|row| {
                row.symbols
                    .iter()
                    .zip(row.first..)
                    .map(move |(_, code)| (code, row.bits))
            })
            .collect();
        for (code, bits) in &codes {
            for shorter in 1..*bits {
                assert_eq!(of(code >> (bits - shorter), shorter), Code::Begun, "{code:b}");
            }
        }
        // Together the codes use all bit strings that are not the beginning of a code of 14 or more bits.
        let used: u32 = codes.iter().map(|(_, bits)| 1 << (LONGEST - bits)).sum();
        assert_eq!(used, (1 << LONGEST) - 2);
    }
}
