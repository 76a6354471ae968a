//! Listens where the operators' HTTP is configured, as soon as and as long as that is possible.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::rt::TokioTimer;
use tokio::net::TcpListener;
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::http::pages::Pages;
use crate::telemetry::limit::LineLimit;

/// Connections at a time. Anybody on this machine can connect: when they are all taken the oldest goes.
const CONNECTIONS: usize = 16;
/// Any connection ends after this. An answer takes no time.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// Request line and headers together arrive within this.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Bytes of request line and headers; the least that hyper knows.
const HEADER_BYTES: usize = 8 << 10;
/// Between the first two attempts to take the port.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Between later ones at most.
const LONGEST_RETRY: Duration = Duration::from_secs(15);
/// Between two lines about a port that stays taken.
const BETWEEN_LINES: Duration = Duration::from_secs(60);
/// When `accept` has no descriptor to give, it would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves for ever; `bound` tells where.
pub(super) async fn run(address: SocketAddr, pages: Pages, bound: watch::Sender<Option<SocketAddr>>) {
    let listener = listen(address).await;
    let real = listener.local_addr().unwrap_or(address);
    bound.send_replace(Some(real));
    tracing::info!(address = %real, "health and metrics are served");
    let mut connections = VecDeque::<AbortHandle>::new();
    let lines = LineLimit::new(1);
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                connections.retain(|connection| !connection.is_finished());
                if connections.len() >= CONNECTIONS
                    && let Some(oldest) = connections.pop_front()
                {
                    oldest.abort();
                }
                connections.push_back(tokio::spawn(serve(stream, pages.clone())).abort_handle());
                // The newcomer is answered, if it has asked already, before the next one may take its place.
                tokio::task::yield_now().await;
            }
            Err(error) => {
                if let Some(suppressed) = lines.pass() {
                    tracing::warn!(%error, suppressed, "cannot accept a connection for health or metrics");
                }
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
}

/// Takes the port, however long that needs: the KMS socket is served meanwhile.
async fn listen(address: SocketAddr) -> TcpListener {
    let mut backoff = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    let mut last_line: Option<Instant> = None;
    loop {
        let error = match TcpListener::bind(address).await {
            Ok(listener) => return listener,
            Err(error) => error,
        };
        if last_line.is_none_or(|line| line.elapsed() >= BETWEEN_LINES) {
            last_line = Some(Instant::now());
            log_taken(address, &error);
        }
        tokio::time::sleep(backoff.wait()).await;
    }
}

fn log_taken(address: SocketAddr, error: &io::Error) {
    tracing::warn!(
        %address, %error,
        "health and metrics are not served: the address can't be used; trying again, KMS calls are served meanwhile"
    );
}

async fn serve(stream: TcpStream, pages: Pages) {
    let service = service_fn(move |request| {
        let response = pages.answer(&request);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES)
        .keep_alive(false)
        .serve_connection(TokioIo::new(stream), service);
    // What went wrong is between the operator's client and its own end.
    drop(tokio::time::timeout(CONNECTION_TIME, connection).await);
}
