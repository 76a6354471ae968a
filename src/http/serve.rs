//! Serves the operators' HTTP at the configured address, and retries while the address is unavailable.

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

/// The most connections at a time. Any process on this machine can connect; beyond the limit, the oldest is closed.
const CONNECTIONS: usize = 16;
/// The longest time of a connection. A response takes much less.
const CONNECTION_TIME: Duration = Duration::from_secs(10);
/// The time for request line and headers together.
const HEADER_TIME: Duration = Duration::from_secs(5);
/// Bytes of request line and headers; the least that hyper allows.
const HEADER_BYTES: usize = 8 << 10;
/// The pause between the first two attempts to bind the port.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// The longest pause between later attempts.
const LONGEST_RETRY: Duration = Duration::from_secs(15);
/// The time between two log lines about a port that stays in use.
const BETWEEN_LINES: Duration = Duration::from_secs(60);
/// The pause after a failed `accept`: without free descriptors it would fail again at once.
const PAUSE: Duration = Duration::from_millis(100);

/// Serves forever; `bound` receives the address.
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
                // Lets the new connection's request be answered, if it has come, before the next one may displace it.
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

/// Binds the port, and retries until it succeeds. The KMS socket is served meanwhile.
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
        "health and metrics are not served: the address cannot be used; dekhand retries, and serves KMS calls meanwhile"
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
    // An error on the connection concerns only its client.
    drop(tokio::time::timeout(CONNECTION_TIME, connection).await);
}
