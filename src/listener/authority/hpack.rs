//! Walks the representations of a header block (RFC 7541, 6) by their lengths, without tables, up to the `:authority`.

use std::ops::Range;

use crate::listener::authority::End;
use crate::listener::authority::huffman::Symbol;
use crate::listener::authority::substitute;

const AUTHORITY: &[u8] = b":authority";
/// The same in Huffman code, which has only one encoding of it.
const AUTHORITY_CODED: &[u8] = &[0xb8, 0x3b, 0x53, 0x39, 0xec, 0x32, 0x7d, 0x7f];

/// The static table's entry 1, an empty authority. Encoders with the static table write an empty authority only so.
const INDEXED_EMPTY: u8 = 0x81;
/// Entry 15, an empty `accept-charset`: not a pseudo-header, and ignored by gRPC servers.
const INDEXED_HARMLESS: u8 = 0x8f;

/// The most bytes of an integer behind its prefix, as in h2.
const INTEGER_BYTES: u8 = 4;

/// The state in a header block. Its exits: from `Representation` to all but the strings; from `Integer` and `Length`
/// to the string whose length they have; from each string to the part behind it.
#[derive(Clone, Copy, Debug, Default)]
enum BlockState {
    /// Before a representation, and at the end of a block.
    #[default]
    Representation,
    /// In an integer that does not fit into its prefix.
    Integer { of: Of, value: usize, bytes: u8 },
    /// Before a string's length.
    Length(Text),
    /// In a string that is skipped, or in the rest of one.
    Other { left: usize, text: Text },
    /// In a name that is `:authority` so far.
    Name { expected: &'static [u8] },
    /// In the value of `:authority`.
    Authority { left: usize, coded: bool, mended: bool },
}

/// The meaning of an integer.
#[derive(Clone, Copy, Debug)]
enum Of {
    /// The index of a header, or the size of a table: nothing follows.
    Whole,
    /// The index of a literal's name.
    NameIndex,
    /// The length of a string.
    Length { text: Text, coded: bool },
}

/// A string of a literal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Text {
    Name,
    Value,
    /// The value of an `:authority`.
    Authority,
}

/// The header block that a connection is in, or the next one.
#[derive(Debug, Default)]
pub(super) struct Block {
    state: BlockState,
    symbol: Symbol,
}

impl Block {
    /// Walks over the next part of the block, which is `part` of `bytes`.
    pub(super) fn walk(&mut self, bytes: &mut [u8], part: Range<usize>) -> Result<(), End> {
        let Range { start: mut at, end } = part;
        while at < end {
            if let BlockState::Other { left, text } = &mut self.state {
                let taken = (end - at).min(*left);
                *left -= taken;
                at += taken;
                if *left == 0 {
                    self.state = behind(*text);
                }
                continue;
            }
            let Some(byte) = bytes.get_mut(at) else {
                return Ok(());
            };
            self.state = match self.state {
                BlockState::Representation => {
                    if *byte == INDEXED_EMPTY {
                        *byte = INDEXED_HARMLESS;
                    }
                    representation(*byte)
                }
                BlockState::Integer { of, value, bytes } => integer(of, value, bytes, *byte)?,
                BlockState::Length(text) => length(text, *byte),
                BlockState::Name { expected } => name(expected, *byte),
                BlockState::Authority { left, coded, mended } => {
                    let mended = mended | self.mend(bytes, at, coded)?;
                    self.behind_authority_byte(left - 1, coded, mended)?
                }
                BlockState::Other { left, text } => BlockState::Other { left, text },
            };
            at += 1;
        }
        Ok(())
    }

    /// The block ends here.
    pub(super) fn end(&self) -> Result<(), End> {
        match self.state {
            BlockState::Representation => Ok(()),
            _ => Err(End::Broken),
        }
    }

    /// The beginning of the symbol whose last bits have not come yet.
    pub(super) fn first_unsettled(&self) -> Option<usize> {
        self.symbol.first_byte()
    }

    /// Drops `bytes` bytes that were passed on: places then count from behind them.
    pub(super) fn forget(&mut self, bytes: usize) {
        self.symbol.move_back(bytes);
    }

    fn mend(&mut self, bytes: &mut [u8], at: usize, coded: bool) -> Result<bool, End> {
        if coded {
            return self.symbol.take_byte(bytes, at);
        }
        Ok(match bytes.get_mut(at) {
            Some(byte) if !substitute::is_good(*byte) => {
                *byte = b'-';
                true
            }
            _ => false,
        })
    }

    fn behind_authority_byte(&mut self, left: usize, coded: bool, mended: bool) -> Result<BlockState, End> {
        if left > 0 {
            return Ok(BlockState::Authority { left, coded, mended });
        }
        // The remaining bits of the last byte are padding.
        self.symbol = Symbol::default();
        if mended {
            Ok(BlockState::Representation)
        } else {
            Err(End::Acceptable)
        }
    }
}

/// The state behind a representation's first byte.
fn representation(byte: u8) -> BlockState {
    let (prefix, of) = match byte {
        // An indexed header, and the size of a table.
        0x80.. => (0x7f, Of::Whole),
        0x20..0x40 => (0x1f, Of::Whole),
        // A literal that becomes an entry of the table, and literals that do not.
        0x40.. => (0x3f, Of::NameIndex),
        _ => (0x0f, Of::NameIndex),
    };
    prefixed(of, byte, prefix)
}

/// The state behind the first byte of a string's length.
fn length(text: Text, byte: u8) -> BlockState {
    let coded = byte & 0x80 != 0;
    prefixed(Of::Length { text, coded }, byte, 0x7f)
}

/// An integer that begins in the low bits of a byte.
fn prefixed(of: Of, byte: u8, prefix: u8) -> BlockState {
    let value = usize::from(byte & prefix);
    if byte & prefix == prefix {
        BlockState::Integer { of, value, bytes: 0 }
    } else {
        behind_integer(of, value)
    }
}

/// One more byte of an integer.
fn integer(of: Of, value: usize, bytes: u8, byte: u8) -> Result<BlockState, End> {
    let value = value + (usize::from(byte & 0x7f) << (7 * bytes));
    let bytes = bytes + 1;
    if byte & 0x80 == 0 {
        Ok(behind_integer(of, value))
    } else if bytes < INTEGER_BYTES {
        Ok(BlockState::Integer { of, value, bytes })
    } else {
        Err(End::Broken)
    }
}

fn behind_integer(of: Of, value: usize) -> BlockState {
    match (of, value) {
        (Of::Whole, _) => BlockState::Representation,
        (Of::NameIndex, 0) => BlockState::Length(Text::Name),
        (Of::NameIndex, 1) => BlockState::Length(Text::Authority),
        (Of::NameIndex, _) => BlockState::Length(Text::Value),
        (Of::Length { text, .. }, 0) => behind(text),
        (Of::Length { text, coded }, left) => match text {
            Text::Authority => BlockState::Authority {
                left,
                coded,
                mended: false,
            },
            Text::Name if coded && left == AUTHORITY_CODED.len() => BlockState::Name {
                expected: AUTHORITY_CODED,
            },
            Text::Name if !coded && left == AUTHORITY.len() => BlockState::Name { expected: AUTHORITY },
            Text::Name | Text::Value => BlockState::Other { left, text },
        },
    }
}

/// The state behind a skipped string.
fn behind(text: Text) -> BlockState {
    match text {
        Text::Name => BlockState::Length(Text::Value),
        Text::Value | Text::Authority => BlockState::Representation,
    }
}

/// One more byte of a name.
fn name(expected: &'static [u8], byte: u8) -> BlockState {
    match expected.split_first() {
        Some((first, [])) if *first == byte => BlockState::Length(Text::Authority),
        Some((first, rest)) if *first == byte => BlockState::Name { expected: rest },
        Some((_, [])) | None => behind(Text::Name),
        Some((_, rest)) => BlockState::Other {
            left: rest.len(),
            text: Text::Name,
        },
    }
}
