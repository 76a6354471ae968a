//! The header of an HTTP/2 frame (RFC 9113, 4.1).

/// Bytes of a frame's header.
pub(super) const LENGTH: usize = 9;

pub(super) const HEADERS: u8 = 1;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const CONTINUATION: u8 = 9;

/// The flag of the last fragment of a header block.
pub(super) const END_HEADERS: u8 = 0x4;

/// A frame's header, as far as it has come.
#[derive(Debug, Default)]
pub(super) struct Partial {
    bytes: [u8; LENGTH],
    filled: usize,
}

/// A whole frame header.
#[derive(Clone, Copy, Debug)]
pub(super) struct FrameHeader {
    /// Bytes of the payload.
    pub(super) length: usize,
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: [u8; 4],
}

impl Partial {
    /// Takes bytes of the header from the start of `bytes`. Returns their number, and the header once it is whole.
    pub(super) fn fill(&mut self, bytes: &[u8]) -> (usize, Option<FrameHeader>) {
        let missing = self.bytes.get_mut(self.filled..).unwrap_or_default();
        let taken = missing.len().min(bytes.len());
        for (to, from) in missing.iter_mut().zip(bytes) {
            *to = *from;
        }
        self.filled += taken;
        if self.filled < LENGTH {
            return (taken, None);
        }
        self.filled = 0;
        let [long, middle, short, kind, flags, stream @ ..] = self.bytes;
        let length = usize::from(long) << 16 | usize::from(middle) << 8 | usize::from(short);
        let header = FrameHeader {
            length,
            kind,
            flags,
            stream,
        };
        (taken, Some(header))
    }

    /// Whether a part of the header has come.
    pub(super) fn is_begun(&self) -> bool {
        self.filled > 0
    }
}
