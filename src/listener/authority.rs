//! Mends the `:authority` that older API servers send, between a socket and HTTP/2.
//!
//! Clients before Kubernetes 1.32, and v1beta1 clients of every version, send the socket's path, raw or percent-encoded.
//! That is no authority, and h2 resets the stream before any code of ours sees it. So [`AuthorityRewriter`] walks the frames that a
//! connection receives, and the header blocks in them, by lengths alone. In a literal `:authority` it puts, in the place
//! of each character that no authority may have, one whose Huffman code is as long: so every length stays what it was,
//! and the tables of both ends evict the same entries at the same time
//! ([`decisions`](crate::manual::decisions) says why that is safe).

mod frames;
mod hpack;
mod huffman;
mod substitute;

use std::io;
use std::mem;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;
use std::task::ready;

use tokio::io::AsyncRead;
use tokio::io::ReadBuf;
use tokio::sync::oneshot;

use crate::listener::authority::frames::Frames;

/// Bytes that are read at a time while some are held back.
const READ_BEHIND_HELD: usize = 256;

/// Why a connection is not looked at any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its authority is one. A client sends the same with every call; whoever does not has his later calls reset, as they
    /// would be without this.
    Acceptable,
    /// Its authority has a character that cannot be replaced.
    Hopeless,
    /// It is no HTTP/2 or HPACK, or nothing that a client would send. HTTP/2 behind this will say so.
    Broken,
}

/// A stream of HTTP/2 frames, without the client's preface, whose `:authority` is mended as it is read.
#[derive(Debug)]
pub struct AuthorityRewriter<S> {
    stream: S,
    walk: Option<Box<Walk>>,
    /// Was held back and may go on now; empty but for a moment.
    released: Vec<u8>,
}

/// What is known of a connection as long as it is looked at.
#[derive(Debug)]
struct Walk {
    frames: Frames,
    /// The end of what was read: it may change when the next byte is known.
    held: Vec<u8>,
    hopeless: oneshot::Sender<()>,
}

impl<S> AuthorityRewriter<S> {
    /// Mends what is read from `stream`. The receiver is told when the authority has a character that cannot be replaced;
    /// HTTP/2 then resets the calls as it would without this.
    pub fn over(stream: S) -> (Self, oneshot::Receiver<()>) {
        let (hopeless, told) = oneshot::channel();
        let walk = Walk {
            frames: Frames::default(),
            held: Vec::new(),
            hopeless,
        };
        let mended = Self {
            stream,
            walk: Some(Box::new(walk)),
            released: Vec::new(),
        };
        (mended, told)
    }

    /// Looks at `bytes`, of which the first `seen` were held back before; how many of them may go on.
    fn look(&mut self, bytes: &mut [u8], seen: usize) -> usize {
        let Some(walk) = &mut self.walk else {
            return bytes.len();
        };
        match walk.frames.walk(bytes, seen) {
            Ok(passed) => passed,
            Err(end) => {
                if let Some(walk) = self.walk.take()
                    && end == End::Hopeless
                {
                    // If nobody listens any more, that is fine.
                    walk.hopeless.send(()).ok();
                }
                bytes.len()
            }
        }
    }

    fn hold(&mut self, bytes: &[u8]) {
        if let Some(walk) = &mut self.walk {
            walk.held.extend_from_slice(bytes);
        }
    }
}

impl<S: AsyncRead + Unpin> AuthorityRewriter<S> {
    /// Reads into the caller's buffer and mends it there; gives back its end if that must be held back.
    fn poll_read_in_place(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
        let Some(new) = buffer.filled_mut().get_mut(before..) else {
            return Poll::Ready(Ok(()));
        };
        let passed = self.look(new, 0);
        if let Some(held) = new.get(passed..) {
            self.hold(held);
        }
        buffer.set_filled(before + passed);
        Poll::Ready(Ok(()))
    }

    /// Reads behind `held`, and releases what it can.
    fn poll_read_behind(&mut self, context: &mut Context<'_>, mut held: Vec<u8>) -> Poll<io::Result<()>> {
        let mut more = [0; READ_BEHIND_HELD];
        let mut more = ReadBuf::new(&mut more);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut more);
        if !matches!(read, Poll::Ready(Ok(()))) {
            self.hold(&held);
            return read;
        }
        if more.filled().is_empty() {
            // The end of the connection: nothing is left to wait for.
            self.walk = None;
        }
        let seen = held.len();
        held.extend_from_slice(more.filled());
        let passed = self.look(&mut held, seen);
        self.hold(held.get(passed..).unwrap_or_default());
        held.truncate(passed);
        self.released = held;
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for AuthorityRewriter<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        loop {
            if !this.released.is_empty() {
                let now = this.released.len().min(buffer.remaining());
                buffer.put_slice(this.released.get(..now).unwrap_or_default());
                this.released.drain(..now);
                return Poll::Ready(Ok(()));
            }
            let Some(walk) = &mut this.walk else {
                return Pin::new(&mut this.stream).poll_read(context, buffer);
            };
            if !walk.held.is_empty() {
                let held = mem::take(&mut walk.held);
                ready!(this.poll_read_behind(context, held))?;
                continue;
            }
            let before = buffer.filled().len();
            ready!(this.poll_read_in_place(context, buffer))?;
            let nothing_held = this.walk.as_ref().is_none_or(|walk| walk.held.is_empty());
            // A read of nothing is the end of the connection, so it must not look like one.
            if nothing_held || buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
