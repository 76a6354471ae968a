//! Corrects the `:authority` that older API servers send, between the socket and HTTP/2. Needed until Kubernetes 1.31 is
//! out of every vendor's support (2028) and nobody calls v1beta1.
//!
//! Clients before Kubernetes 1.32, and v1beta1 clients of every version, send the socket's path, raw or
//! percent-encoded. That is not a valid authority, and h2 resets the stream before dekhand's code receives the request.
//! [`AuthorityRewriter`] therefore walks the frames that a connection receives, and the header blocks in them, by their
//! lengths. In a literal `:authority` it replaces each character that is invalid in an authority by one whose Huffman
//! code has the same length. All lengths stay the same, and the dynamic tables of both ends evict the same entries at
//! the same time ([`decisions`](crate::manual::decisions) has the reasons why that is safe).

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

/// Bytes per read while earlier bytes are held back.
const READ_BEHIND_HELD: usize = 256;

/// Why the walk of a connection ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its authority is valid. A client sends the same authority with every call; if it does not, HTTP/2 resets its
    /// later calls, as it would without this module.
    Acceptable,
    /// Its authority has a character that cannot be replaced.
    Hopeless,
    /// It is not valid HTTP/2 or HPACK, or a client must not send it. HTTP/2 behind this module reports the error.
    Broken,
}

/// A stream of HTTP/2 frames, without the client's preface, whose `:authority` is corrected as it is read.
#[derive(Debug)]
pub struct AuthorityRewriter<S> {
    stream: S,
    walk: Option<Box<Walk>>,
    /// Bytes that were held back and can now be read; usually empty.
    released: Vec<u8>,
}

/// The state of a connection's walk.
#[derive(Debug)]
struct Walk {
    frames: Frames,
    /// The last bytes read, which may still change with the next byte.
    held: Vec<u8>,
    hopeless: oneshot::Sender<()>,
}

impl<S> AuthorityRewriter<S> {
    /// Corrects the bytes read from `stream`. The receiver completes when the authority has a character that cannot be
    /// replaced; HTTP/2 then resets the calls as it would without this module.
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

    /// Walks over `bytes`, of which the first `seen` were held back before. Returns the number of bytes that can be
    /// passed on.
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
                    // The receiver may be gone already.
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
    /// Reads into the caller's buffer and corrects the bytes there; takes back the end if it must be held back.
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

    /// Reads more bytes behind `held`, and releases those that can be passed on.
    fn poll_read_behind(&mut self, context: &mut Context<'_>, mut held: Vec<u8>) -> Poll<io::Result<()>> {
        let mut more = [0; READ_BEHIND_HELD];
        let mut more = ReadBuf::new(&mut more);
        let read = Pin::new(&mut self.stream).poll_read(context, &mut more);
        if !matches!(read, Poll::Ready(Ok(()))) {
            self.hold(&held);
            return read;
        }
        if more.filled().is_empty() {
            // The end of the connection: no further byte can change the held ones.
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
            // An empty read means the end of the connection, so a read whose bytes are all held back must not return.
            if nothing_held || buffer.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

#[cfg(test)]
mod tests;
