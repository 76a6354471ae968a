//! One symbol of a Huffman-coded authority, found bit by bit and replaced in place.

use crate::listener::authority::End;
use crate::listener::authority::substitute;
use crate::listener::authority::substitute::Code;

/// The most bytes of a symbol with a twin, which has at most 13 bits.
const PLACES: usize = 3;

/// The current symbol of a coded string.
#[derive(Debug, Default)]
pub(super) struct Symbol {
    code: u16,
    bits: u8,
    /// The places of its bytes, in their order. They need not be adjacent: a frame may end between them.
    places: [usize; PLACES],
}

impl Symbol {
    /// Reads the bits of a byte. Returns whether a symbol that ended in it was replaced.
    pub(super) fn take_byte(&mut self, bytes: &mut [u8], at: usize) -> Result<bool, End> {
        let [_, second, third] = self.places;
        self.places = [second, third, at];
        let byte = bytes.get(at).copied().unwrap_or_default();
        let mut mended = false;
        for behind in (0..8).rev() {
            self.code = self.code << 1 | u16::from(byte >> behind & 1);
            self.bits += 1;
            match substitute::of(self.code, self.bits) {
                Code::Begun => continue,
                Code::Good => {}
                Code::Bad { twin } => {
                    self.replace(bytes, u32::from(self.code ^ twin) << behind);
                    mended = true;
                }
                Code::Hopeless => return Err(End::Hopeless),
            }
            self.code = 0;
            self.bits = 0;
        }
        Ok(mended)
    }

    /// Flips the bits in which the two codes differ; `difference` ends with the symbol's last byte.
    fn replace(&self, bytes: &mut [u8], difference: u32) {
        let [_, difference @ ..] = difference.to_be_bytes();
        for (place, difference) in self.places.into_iter().zip(difference) {
            if difference != 0
                && let Some(byte) = bytes.get_mut(place)
            {
                *byte ^= difference;
            }
        }
    }

    /// The place of its first byte, if it has begun.
    pub(super) fn first_byte(&self) -> Option<usize> {
        let behind_last = usize::from(self.bits.div_ceil(8)).checked_sub(1)?;
        self.places.iter().rev().nth(behind_last).copied()
    }

    /// Moves its places back, after `bytes` bytes before it were dropped.
    pub(super) fn move_back(&mut self, bytes: usize) {
        self.places = self.places.map(|place| place.saturating_sub(bytes));
    }
}
