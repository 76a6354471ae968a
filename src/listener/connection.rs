//! One connection: HTTP/2's preface in time, then requests until the caller or the daemon has enough.

use std::io;
use std::pin::Pin;
use std::pin::pin;
use std::task::Context;
use std::task::Poll;
use std::time::Duration;

use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::ReadBuf;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::listener::authority::Mended;
use crate::listener::call::Caller;
use crate::listener::call::Service;
use crate::listener::peers::Peers;

/// What every HTTP/2 client sends first (RFC 9113, 3.4). HTTP/1, TLS and random bytes differ from it at once.
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// How long a client may take to send it.
const PREFACE_TIME: Duration = Duration::from_secs(5);
/// How long requests in flight may take when the connection is to end: the daemon must be gone within 5 s, and a log
/// that nobody reads takes more than one of them.
const DRAIN_TIME: Duration = Duration::from_secs(3);

/// More requests at once than a connection's room, so that those beyond it are told `RESOURCE_EXHAUSTED`.
const STREAMS: u32 = 1024;
/// Requests that were cancelled before we looked at them: all streams may be, twice, and that is no attack.
const CANCELLED_STREAMS: usize = 2048;
/// A caller's bytes that wait in memory for one request: the largest legal message (35 KiB) needs no second round trip.
const STREAM_WINDOW: u32 = 64 << 10;
/// The same for all requests of a connection, before they are looked at; what is read of them has a budget (`body`).
const CONNECTION_WINDOW: u32 = 1 << 20;
/// kube-apiserver's headers are below 1 KiB.
const HEADER_LIST: u32 = 16 << 10;
/// Answers are below 2 KiB; a caller that does not read them stops at so much for each request.
const SEND_BUFFER: usize = 16 << 10;

/// Serves one connection of `uid` until it ends, `draining` turns true, or the uid is banned.
pub(super) async fn serve<S: Service>(
    mut stream: UnixStream,
    uid: u32,
    caller: Caller<S>,
    peers: Peers,
    mut draining: watch::Receiver<bool>,
) {
    let preface = tokio::time::timeout(PREFACE_TIME, read_preface(&mut stream));
    let spoke = tokio::select! {
        spoke = preface => matches!(spoke, Ok(Ok(true))),
        _ = draining.wait_for(|draining| *draining) => false,
    };
    if !spoke {
        return;
    }
    caller.seat.spoke();
    let (metrics, lines) = (caller.metrics.clone(), caller.lines.clone());
    let (stream, hopeless) = Mended::over(stream);
    let io = TokioIo::new(Rewound {
        unread: PREFACE,
        stream,
    });
    let service = service_fn(move |request| caller.answer(request));
    let mut connection = pin!(http2_builder().serve_connection(io, service));
    tokio::select! {
        ended = connection.as_mut() => return log_end(uid, ended),
        _ = draining.wait_for(|draining| *draining) => {}
        () = peers.banned(uid) => {}
        // HTTP/2 has reset the call, and would reset every other.
        Ok(()) = hopeless => {
            metrics.refused_authorities.inc();
            if let Some(suppressed) = lines.pass() {
                tracing::warn!(
                    uid,
                    suppressed,
                    "refused a connection: its :authority has a character that HTTP/2 does not allow; before Kubernetes \
                     1.32 that is the socket's path: choose one of letters, digits and -._~/"
                );
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    if let Ok(ended) = tokio::time::timeout(DRAIN_TIME, connection).await {
        log_end(uid, ended);
    }
}

fn http2_builder() -> http2::Builder<TokioExecutor> {
    let mut builder = http2::Builder::new(TokioExecutor::new());
    builder
        .max_concurrent_streams(STREAMS)
        .max_pending_accept_reset_streams(CANCELLED_STREAMS)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_header_list_size(HEADER_LIST)
        .max_send_buf_size(SEND_BUFFER)
        .auto_date_header(false);
    builder
}

fn log_end(uid: u32, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(uid, %error, "a connection ended early");
    }
}

/// Whether the client's first bytes are the preface; no byte behind it is read.
async fn read_preface(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
    let mut first = [0; PREFACE.len()];
    let mut filled = 0;
    while let Some(rest) = first.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        let count = stream.read(rest).await?;
        filled += count;
        if count == 0 || first.get(..filled) != PREFACE.get(..filled) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// A stream that gives the preface again before it goes on.
#[derive(Debug)]
struct Rewound {
    unread: &'static [u8],
    stream: Mended<UnixStream>,
}

impl AsyncRead for Rewound {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.unread.is_empty() {
            return Pin::new(&mut self.stream).poll_read(context, buffer);
        }
        let (now, later) = self.unread.split_at(self.unread.len().min(buffer.remaining()));
        buffer.put_slice(now);
        self.unread = later;
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Rewound {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, parts)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
