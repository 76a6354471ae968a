//! Reads from a connection in turns, so that who sends without end does not take all the time that there is.

use std::io;
use std::pin::Pin;
use std::task::Context;
use std::task::Poll;

use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::io::Take;

use crate::listener::limits::TURN;

/// A stream that pretends, now and then, that nothing has come: its task goes behind all others that have work.
///
/// tokio's own budget counts reads, and HTTP/2 makes thousands of frames out of one.
#[derive(Debug)]
pub(super) struct Turns<S>(Take<S>);

impl<S: AsyncRead> Turns<S> {
    pub(super) fn new(stream: S) -> Self {
        Self(stream.take(TURN))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Turns<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.0.limit() == 0 {
            self.0.set_limit(TURN);
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let read = Pin::new(&mut self.0).poll_read(context, buffer);
        if read.is_pending() {
            self.0.set_limit(TURN);
        }
        read
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Turns<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(self.0.get_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(self.0.get_mut()).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.get_ref().is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.0.get_mut()).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    #[test]
    fn who_has_much_to_say_lets_others_speak_in_between_and_loses_nothing() {
        let turn = usize::try_from(TURN).unwrap();
        let text: Vec<u8> = (0..turn * 5 / 2).map(|at| at.to_le_bytes()[0]).collect();
        let mut stream = Turns::new(text.as_slice());
        let mut context = Context::from_waker(Waker::noop());
        let (mut read, mut pauses) = (vec![], 0);
        while read.len() < text.len() {
            let mut bytes = vec![0; turn * 2];
            let mut buffer = ReadBuf::new(&mut bytes);
            match Pin::new(&mut stream).poll_read(&mut context, &mut buffer) {
                Poll::Ready(result) => result.unwrap(),
                Poll::Pending => pauses += 1,
            }
            read.extend_from_slice(buffer.filled());
        }
        assert_eq!(read, text);
        assert_eq!(pauses, 2);
    }
}
