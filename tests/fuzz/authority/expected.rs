//! What must come of each authority, from the specification and not with the crate's code.

use crate::authority::huffman::LENGTHS;

/// What must come of one header.
#[derive(Debug)]
pub(crate) enum Expected {
    /// The header as it was sent, unless it is an authority that came from a table.
    Same,
    /// An authority with this value.
    Authority(Vec<u8>),
    /// No authority any more: it was empty.
    Gone,
    /// An authority with any value.
    Unsure,
}

/// What is known of a connection so far.
#[derive(Debug, Default)]
pub(crate) enum Judge {
    /// Authorities are mended.
    #[default]
    Active,
    /// One was acceptable, or beyond help.
    Over,
    /// Nobody knows: something was sent that no encoder writes.
    Lost,
}

impl Judge {
    pub(crate) fn empty(&self) -> Expected {
        match self {
            Self::Active => Expected::Gone,
            Self::Over => Expected::Authority(vec![]),
            Self::Lost => Expected::Unsure,
        }
    }

    pub(crate) fn unsure(&mut self) -> Expected {
        if !matches!(self, Self::Over) {
            *self = Self::Lost;
        }
        Expected::Unsure
    }

    pub(crate) fn authority(&mut self, value: &[u8], coded: bool) -> Expected {
        match self {
            Self::Lost => return Expected::Unsure,
            Self::Over => return Expected::Authority(value.to_vec()),
            Self::Active => {}
        }
        let mut mended = value.to_vec();
        for byte in &mut mended {
            if is_good(*byte) {
                continue;
            }
            *byte = match LENGTHS[usize::from(*byte)] {
                _ if !coded => b'-',
                6 => b'-',
                7 => b'x',
                10 => b'!',
                11 => b'+',
                13 => b'~',
                _ => {
                    *self = Self::Over;
                    break;
                }
            };
        }
        if mended == value && !value.is_empty() {
            *self = Self::Over;
        }
        Expected::Authority(mended)
    }
}

fn is_good(byte: u8) -> bool {
    matches!(byte, b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~')
        || b"!$&'()*+,;=".contains(&byte)
}
