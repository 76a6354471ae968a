//! One connection: waits for HTTP/2's preface, then serves requests until the caller or the daemon ends it.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;

use hyper::rt::Executor;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::caller::Caller;
use crate::listener::authority::AuthorityRewriter;
use crate::listener::frame_deadline::FrameDeadline;
use crate::listener::limits;
use crate::listener::peers::Peers;
use crate::listener::read_quota::QuotaStream;
use crate::listener::read_quota::ReadQuota;
use crate::listener::request::ConnectionService;
use crate::listener::request::GrpcService;

/// The first bytes of every HTTP/2 client (RFC 9113, 3.4). HTTP/1, TLS and random bytes differ at once.
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// Serves one connection of `uid` until it ends, `draining` becomes true, or the uid is no longer allowed.
pub(super) async fn serve<S: GrpcService>(
    mut stream: UnixStream,
    uid: u32,
    service: ConnectionService<S>,
    peers: Peers,
    mut draining: watch::Receiver<bool>,
) {
    let preface = tokio::time::timeout(limits::PREFACE_TIME, read_preface(&mut stream));
    let spoke = tokio::select! {
        spoke = preface => matches!(spoke, Ok(Ok(true))),
        _ = draining.wait_for(|draining| *draining) => false,
    };
    if !spoke {
        return;
    }
    service.entry.spoke();
    let (metrics, lines) = (service.metrics.clone(), service.lines.clone());
    let (reader, writer) = stream.into_split();
    let (mended, hopeless) = AuthorityRewriter::over(FrameDeadline::over(reader));
    let quota = ReadQuota::new();
    // hyper reads the preface itself, so it is put back in front.
    let rewound = tokio::io::join(PREFACE.chain(mended), writer);
    let io = TokioIo::new(QuotaStream::new(rewound, quota.clone()));
    let service = service_fn(move |request| service.answer(request));
    let running = Running::default();
    let mut connection = pin!(http2_builder(&running).serve_connection(io, service));
    tokio::select! {
        ended = quota.serve(connection.as_mut()) => return log_end(uid, ended),
        _ = draining.wait_for(|draining| *draining) => {}
        () = peers.banned(uid) => {}
        // HTTP/2 has reset the call, and would reset every further one.
        Ok(()) = hopeless => {
            metrics.refused_authorities.inc();
            if let Some(suppressed) = lines.pass() {
                tracing::warn!(
                    uid,
                    suppressed,
                    "refused a connection: its :authority has a character that HTTP/2 does not allow; before \
                     Kubernetes 1.32 the :authority is the socket's path: choose a path of letters, digits and -._~/"
                );
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    tokio::select! {
        ended = quota.serve(connection) => log_end(uid, ended),
        () = drained(&running, &quota) => {}
        () = tokio::time::sleep(limits::DRAIN_TIME) => {}
    }
}

/// Completes when every request has been answered and its response written, whether or not the caller closes the
/// connection, as it is asked to.
async fn drained(running: &Running, quota: &ReadQuota) {
    let mut idle = 0;
    while idle < limits::IDLE_LOOKS {
        tokio::time::sleep(limits::IDLE_LOOK).await;
        idle = if running.is_idle() && quota.is_written() {
            idle + 1
        } else {
            0
        };
    }
}

fn http2_builder(running: &Running) -> http2::Builder<RequestExecutor> {
    let mut builder = http2::Builder::new(RequestExecutor(running.clone()));
    builder
        .max_concurrent_streams(limits::STREAMS)
        .max_pending_accept_reset_streams(limits::CANCELLED_STREAMS)
        .initial_stream_window_size(limits::STREAM_WINDOW)
        .initial_connection_window_size(limits::CONNECTION_WINDOW)
        .max_header_list_size(limits::HEADER_LIST)
        .max_send_buf_size(limits::SEND_BUFFER)
        .auto_date_header(false);
    builder
}

/// Runs requests until their responses are fetched, within a limit: if a caller grants no window for a response, the
/// request is reset.
#[derive(Clone, Debug)]
struct RequestExecutor(Running);

impl<F> Executor<F> for RequestExecutor
where
    F: Future<Output: Send> + Send + 'static,
{
    fn execute(&self, request: F) {
        let counted = self.0.begin();
        tokio::spawn(async move {
            let _counted = counted;
            tokio::time::timeout(Caller::LONGEST_TIMEOUT + limits::FETCH_TIME, request).await
        });
    }
}

/// The number of requests of a connection that run, until their responses are handed to HTTP/2. Clones share it.
#[derive(Clone, Debug, Default)]
struct Running(Arc<AtomicUsize>);

/// Counts one request until it is dropped.
#[derive(Debug)]
struct RunningRequest(Arc<AtomicUsize>);

impl Running {
    fn begin(&self) -> RunningRequest {
        self.0.fetch_add(1, Ordering::Relaxed);
        RunningRequest(Arc::clone(&self.0))
    }

    fn is_idle(&self) -> bool {
        self.0.load(Ordering::Relaxed) == 0
    }
}

impl Drop for RunningRequest {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn log_end(uid: u32, ended: hyper::Result<()>) {
    if let Err(error) = ended {
        tracing::debug!(uid, %error, "a connection ended early");
    }
}

/// Whether the client's first bytes are the preface. Reads no byte behind it.
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
