//! Ends a connection on which a frame, or a header block of several frames, has begun and does not end in time.
//!
//! HTTP/2 waits for the rest without a limit, and so would this daemon: half a frame header, a frame without the rest of
//! its payload, HEADERS without CONTINUATION. The client's first frame, its SETTINGS, must come in time as well.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::ReadBuf;
use tokio::time::Instant;
use tokio::time::Sleep;

use crate::listener::frame;
use crate::listener::frame::FrameHeader;
use crate::listener::frame::Partial;
use crate::listener::limits::FRAME_TIME;

/// A stream of HTTP/2 frames, without the client's preface. A read fails with [`io::ErrorKind::TimedOut`] if nothing more
/// comes and what has begun is older than [`FRAME_TIME`].
#[derive(Debug)]
pub(super) struct FrameDeadline<S> {
    stream: S,
    position: Position,
    /// Set while the stream waits for the rest of something.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> FrameDeadline<S> {
    pub(super) fn over(stream: S) -> Self {
        Self {
            stream,
            position: Position::default(),
            deadline: None,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FrameDeadline<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut this.stream).poll_read(context, buffer) {
            let new = buffer.filled().get(before..).unwrap_or_default();
            if this.position.walk(new) {
                this.deadline = None;
            }
            return Poll::Ready(read);
        }
        if this.position.is_between() {
            return Poll::Pending;
        }
        let deadline = || Box::pin(tokio::time::sleep_until(Instant::now() + FRAME_TIME));
        ready!(this.deadline.get_or_insert_with(deadline).as_mut().poll(context));
        let message = "what it has begun to send did not come in time";
        Poll::Ready(Err(io::Error::new(io::ErrorKind::TimedOut, message)))
    }
}

/// The position of a connection between its frames and within one.
#[derive(Debug, Default)]
struct Position {
    /// Whether the first frame has come.
    greeted: bool,
    header: Partial,
    /// Bytes of the payload that have not come yet.
    left: usize,
    /// Whether the last fragment of a header block has not come yet.
    in_block: bool,
}

impl Position {
    /// Whether nothing has begun that must end.
    fn is_between(&self) -> bool {
        self.greeted && !self.header.is_begun() && self.left == 0 && !self.in_block
    }

    /// Walks over bytes. Returns whether everything that had begun before them has ended in them.
    fn walk(&mut self, mut bytes: &[u8]) -> bool {
        let mut ended = false;
        while !bytes.is_empty() {
            let taken = if self.left > 0 {
                let taken = self.left.min(bytes.len());
                self.left -= taken;
                taken
            } else {
                let (taken, header) = self.header.fill(bytes);
                if let Some(FrameHeader {
                    length, kind, flags, ..
                }) = header
                {
                    self.greeted = true;
                    self.left = length;
                    if matches!(kind, frame::HEADERS | frame::CONTINUATION) {
                        self.in_block = flags & frame::END_HEADERS == 0;
                    }
                }
                taken
            };
            bytes = bytes.get(taken..).unwrap_or_default();
            ended |= self.is_between();
        }
        ended
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A frame with this payload.
    fn frame(kind: u8, flags: u8, payload: usize) -> Vec<u8> {
        let length = u8::try_from(payload).unwrap();
        let mut frame = vec![0, 0, length, kind, flags, 0, 0, 0, 1];
        frame.resize(frame::LENGTH + payload, 0);
        frame
    }

    #[test]
    fn between_frames_and_header_blocks_nothing_must_come() {
        const SETTINGS: u8 = 4;
        const DATA: u8 = 0;
        let ends = [
            frame(SETTINGS, 0, 0),
            frame(SETTINGS, 0, 12),
            frame(DATA, 0, 200),
            frame(frame::HEADERS, frame::END_HEADERS, 30),
            [
                frame(frame::HEADERS, 0, 30),
                frame(frame::CONTINUATION, 0, 0),
                frame(frame::CONTINUATION, frame::END_HEADERS, 30),
            ]
            .concat(),
        ];
        for step in [1, 7, 1000] {
            let mut position = Position::default();
            assert!(!position.is_between(), "the first frame must come");
            for part in &ends {
                let (last, begun) = part.split_last().unwrap();
                for bytes in begun.chunks(step) {
                    assert!(!position.walk(bytes) && !position.is_between(), "{part:?}");
                }
                assert!(position.walk(&[*last]) && position.is_between(), "{part:?}");
            }
            let two = [ends[2].clone(), ends[3].clone(), vec![0]].concat();
            assert!(
                position.walk(&two) && !position.is_between(),
                "one has ended, another one has begun"
            );
        }
    }
}
