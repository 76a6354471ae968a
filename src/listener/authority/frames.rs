//! Walks HTTP/2's frames (RFC 9113, 4.1) by their lengths, and passes the fragments of header blocks on.

use crate::listener::authority::End;
use crate::listener::authority::hpack::Block;
use crate::listener::frame::CONTINUATION;
use crate::listener::frame::END_HEADERS;
use crate::listener::frame::FrameHeader;
use crate::listener::frame::HEADERS;
use crate::listener::frame::PUSH_PROMISE;
use crate::listener::frame::Partial;

const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Bytes before the fragment if the flag PRIORITY is set.
const PRIORITY_FIELDS: usize = 5;

/// The most bytes held back: padding and a frame's header, which may lie between two parts of one symbol.
const MOST_HELD: usize = 512;

/// The position of a connection between its frames and within one.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: Partial,
    /// The frame whose payload comes now.
    frame: Option<FrameHeader>,
    payload: Payload,
    /// The stream of the header block whose last fragment has not come yet.
    open: Option<[u8; 4]>,
    block: Block,
}

/// The rest of a frame's payload, in the order of its parts.
#[derive(Debug, Default)]
struct Payload {
    pad_length: bool,
    /// Bytes that are not part of a header block.
    other: usize,
    fragment: usize,
    padding: usize,
}

impl Payload {
    fn is_over(&self) -> bool {
        !self.pad_length && self.other == 0 && self.fragment == 0 && self.padding == 0
    }
}

impl Frames {
    /// Walks over `bytes`, of which the first `seen` were walked over before. Returns the number of bytes that can be
    /// passed on. The others must be presented again, before those that follow.
    pub(super) fn walk(&mut self, bytes: &mut [u8], seen: usize) -> Result<usize, End> {
        let mut at = seen;
        while at < bytes.len() {
            at = if self.frame.is_none() {
                self.collect_header(bytes, at)?
            } else {
                self.walk_payload(bytes, at)?
            };
            if let Some(frame) = self.frame.take_if(|_| self.payload.is_over()) {
                self.end_frame(frame)?;
            }
        }
        let passed = self.block.first_unsettled().unwrap_or(bytes.len());
        if bytes.len() - passed > MOST_HELD {
            return Err(End::Broken);
        }
        self.block.forget(passed);
        Ok(passed)
    }

    fn collect_header(&mut self, bytes: &[u8], at: usize) -> Result<usize, End> {
        let (taken, frame) = self.header.fill(bytes.get(at..).unwrap_or_default());
        if let Some(frame) = frame {
            self.payload = self.begin_frame(frame)?;
        }
        self.frame = frame;
        Ok(at + taken)
    }

    fn begin_frame(&mut self, frame: FrameHeader) -> Result<Payload, End> {
        let FrameHeader {
            length,
            kind,
            flags,
            stream,
        } = frame;
        let mut payload = Payload::default();
        match (kind, self.open) {
            (HEADERS, None) => {
                let before = if flags & PRIORITY == 0 { 0 } else { PRIORITY_FIELDS };
                payload.pad_length = flags & PADDED != 0;
                payload.other = before;
                let fragment = length.checked_sub(before + usize::from(payload.pad_length));
                payload.fragment = fragment.ok_or(End::Broken)?;
                self.open = Some(stream);
            }
            (CONTINUATION, Some(open)) if open == stream => payload.fragment = length,
            // No other frame may come between the fragments of a block, and a client must not send PUSH_PROMISE.
            (_, Some(_)) | (CONTINUATION | PUSH_PROMISE, None) => return Err(End::Broken),
            (_, None) => payload.other = length,
        }
        Ok(payload)
    }

    /// Walks over one part of the payload, as far as it has come. Returns the beginning of the next part.
    fn walk_payload(&mut self, bytes: &mut [u8], at: usize) -> Result<usize, End> {
        let payload = &mut self.payload;
        if payload.pad_length {
            payload.pad_length = false;
            payload.padding = bytes.get(at).copied().map_or(0, usize::from);
            payload.fragment = payload.fragment.checked_sub(payload.padding).ok_or(End::Broken)?;
            return Ok(at + 1);
        }
        let there = bytes.len() - at;
        if payload.other > 0 {
            return Ok(at + take(&mut payload.other, there));
        }
        if payload.fragment > 0 {
            let end = at + take(&mut payload.fragment, there);
            self.block.walk(bytes, at..end)?;
            return Ok(end);
        }
        Ok(at + take(&mut payload.padding, there))
    }

    fn end_frame(&mut self, frame: FrameHeader) -> Result<(), End> {
        if self.open.is_some() && frame.flags & END_HEADERS != 0 {
            self.open = None;
            self.block.end()?;
        }
        Ok(())
    }
}

/// Subtracts from `left` as much as is there, and returns that amount.
fn take(left: &mut usize, there: usize) -> usize {
    let taken = there.min(*left);
    *left -= taken;
    taken
}
