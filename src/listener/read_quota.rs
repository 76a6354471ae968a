//! Limits the bytes that are read from a connection per turn (deficit round robin without a carry-over), and reads only
//! while its caller reads responses. So a flood can use up neither the runtime's time nor its memory.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::io::Take;

use crate::listener::limits::TURN;

/// The bytes that are left of a connection's turn, and whether its caller reads. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct ReadQuota(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    left: AtomicU64,
    /// Whether a write waits for the caller to read.
    unread: AtomicBool,
}

impl ReadQuota {
    pub(super) fn new() -> Self {
        Self(Arc::new(Shared {
            left: AtomicU64::new(TURN),
            unread: AtomicBool::new(false),
        }))
    }

    /// Whether no write waits for the caller to read.
    pub(super) fn is_written(&self) -> bool {
        !self.0.unread.load(Ordering::Relaxed)
    }

    /// Polls a connection. Each poll begins a new turn.
    ///
    /// # Cancel safety
    /// As that of the connection.
    pub(super) async fn serve<C: Future>(&self, mut connection: Pin<&mut C>) -> C::Output {
        // The stream itself cannot tell where a turn begins: one poll of hyper reads once for each request that it
        // takes.
        std::future::poll_fn(|context| {
            self.0.left.store(TURN, Ordering::Relaxed);
            connection.as_mut().poll(context)
        })
        .await
    }
}

/// A stream that returns `Pending` when its turn is over, so that its task is polled after all other tasks with work.
///
/// tokio's own budget counts reads, and one read can contain thousands of HTTP/2 frames. HTTP/2 also accepts requests
/// and buffers responses if the caller does not read them. Here, nothing is read from such a caller until it reads.
#[derive(Debug)]
pub(super) struct QuotaStream<S> {
    stream: Take<S>,
    quota: ReadQuota,
}

impl<S: AsyncRead> QuotaStream<S> {
    pub(super) fn new(stream: S, quota: ReadQuota) -> Self {
        Self {
            stream: stream.take(0),
            quota,
        }
    }

    /// Records whether a write waits for the caller to read.
    fn written(&self, context: &Context<'_>, result: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        let before = self.quota.0.unread.swap(result.is_pending(), Ordering::Relaxed);
        if before && result.is_ready() {
            // A read returned `Pending` because of this write, and nothing else would wake it.
            context.waker().wake_by_ref();
        }
        result
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for QuotaStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.quota.is_written() {
            // The waiting write wakes the task.
            return Poll::Pending;
        }
        let left = self.quota.0.left.load(Ordering::Relaxed);
        if left == 0 {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        self.stream.set_limit(left);
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        self.quota.0.left.store(self.stream.limit(), Ordering::Relaxed);
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for QuotaStream<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let result = Pin::new(self.stream.get_mut()).poll_write(context, bytes);
        self.written(context, result)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(self.stream.get_mut()).poll_write_vectored(context, parts);
        self.written(context, result)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.stream.get_mut()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::pin::pin;
    use std::task::Waker;

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn who_has_much_to_say_lets_others_speak_in_between_and_loses_nothing() {
        let turn = usize::try_from(TURN).unwrap();
        let text: Vec<u8> = (0..turn * 5 / 2).map(|at| at.to_le_bytes()[0]).collect();
        let quota = ReadQuota::new();
        let mut stream = QuotaStream::new(text.as_slice(), quota.clone());
        let mut read = vec![];
        let polls = Cell::new(0);
        let reading = pin!(async {
            let mut counted = pin!(stream.read_to_end(&mut read));
            let counted = std::future::poll_fn(|context| {
                polls.set(polls.get() + 1);
                // As in hyper: the second poll in the same turn finds nothing more.
                match counted.as_mut().poll(context) {
                    Poll::Pending => counted.as_mut().poll(context),
                    ready @ Poll::Ready(_) => ready,
                }
            });
            counted.await.unwrap();
        });
        quota.serve(reading).await;
        assert_eq!(read, text);
        assert_eq!(polls.get(), 3);
    }

    #[tokio::test]
    async fn who_does_not_read_is_not_heard_until_it_does() {
        let (mut caller, daemon) = tokio::io::duplex(64);
        let quota = ReadQuota::new();
        let mut stream = QuotaStream::new(daemon, quota.clone());
        caller.write_all(b"a call").await.unwrap();
        let mut context = Context::from_waker(Waker::noop());
        assert!(Pin::new(&mut stream).poll_write(&mut context, &[0; 64]).is_ready());
        assert!(Pin::new(&mut stream).poll_write(&mut context, &[0; 64]).is_pending());
        let mut bytes = [0; 6];
        let mut buffer = ReadBuf::new(&mut bytes);
        assert!(Pin::new(&mut stream).poll_read(&mut context, &mut buffer).is_pending());
        caller.read_exact(&mut [0; 64]).await.unwrap();
        assert!(Pin::new(&mut stream).poll_write(&mut context, &[0; 64]).is_ready());
        assert!(Pin::new(&mut stream).poll_read(&mut context, &mut buffer).is_ready());
        assert_eq!(buffer.filled(), b"a call");
    }
}
