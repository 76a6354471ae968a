//! Compares an empty call through the rewriter of `:authority` with the same call without it, in one run.
//!
//! `cargo bench --bench authority` prints throughput and ratios. Machines are noisy: only the ratios of one run are
//! meaningful, and the spread of the rounds shows their precision.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a benchmark prints"
)]

use std::path::Path;
use std::path::PathBuf;
use std::thread;
use std::time::Instant;

use dekhand::listener::authority::AuthorityRewriter;
use dekhand::proto::v2::DecryptRequest;
use dekhand::proto::v2::DecryptResponse;
use dekhand::proto::v2::EncryptRequest;
use dekhand::proto::v2::EncryptResponse;
use dekhand::proto::v2::StatusRequest;
use dekhand::proto::v2::StatusResponse;
use dekhand::proto::v2::key_management_service_client::KeyManagementServiceClient;
use dekhand::proto::v2::key_management_service_server::KeyManagementService;
use dekhand::proto::v2::key_management_service_server::KeyManagementServiceServer;
use dekhand::rpc::client::Channel;
use futures_util::future::join_all;
use hyper::http::Uri;
use hyper::server::conn::http2;
use hyper::service::service_fn;
use hyper_util::rt::TokioExecutor;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::Join;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::net::unix::OwnedReadHalf;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::service::Routes;
use tower::ServiceExt as _;

const ROUNDS: usize = 9;
const CALLS_PER_ROUND: usize = 20_000;
const IN_FLIGHT: [usize; 3] = [1, 8, 64];
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// The authority of API servers from 1.32 on; and an abstract socket's name, for which every call is walked.
const AUTHORITIES: [(&str, &str); 2] = [("acceptable", "http://localhost"), ("mended", "http://@kms")];

type Client = KeyManagementServiceClient<Channel>;

/// An empty call, as the baseline.
struct Empty;

#[tonic::async_trait]
impl KeyManagementService for Empty {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(StatusResponse::default()))
    }

    async fn decrypt(&self, _: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        Ok(Response::new(DecryptResponse::default()))
    }

    async fn encrypt(&self, _: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        Ok(Response::new(EncryptResponse::default()))
    }
}

/// Serves on its own thread, as the daemon does, until the process ends.
fn serve(socket: &Path, mended: bool) {
    let listener = std::os::unix::net::UnixListener::bind(socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async move {
            let listener = UnixListener::from_std(listener).unwrap();
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                if mended {
                    tokio::spawn(connection(|reader| AuthorityRewriter::over(reader).0, stream));
                } else {
                    tokio::spawn(connection(|reader| reader, stream));
                }
            }
        });
    });
}

/// Serves a connection whose bytes behind the preface go through `adapt`.
async fn connection<R: AsyncRead + Unpin + Send + 'static>(
    adapt: impl FnOnce(OwnedReadHalf) -> R,
    mut stream: UnixStream,
) {
    let mut preface = [0; PREFACE.len()];
    stream.read_exact(&mut preface).await.unwrap();
    let (reader, writer) = stream.into_split();
    let io: Join<_, _> = tokio::io::join(PREFACE.chain(adapt(reader)), writer);
    let routes = Routes::new(KeyManagementServiceServer::new(Empty)).prepare();
    let service =
        service_fn(move |request: hyper::Request<_>| routes.clone().oneshot(request.map(tonic::body::Body::new)));
    http2::Builder::new(TokioExecutor::new())
        .serve_connection(TokioIo::new(io), service)
        .await
        .ok();
}

async fn connect(socket: &Path, authority: &'static str) -> Client {
    let stream = UnixStream::connect(socket).await.unwrap();
    let channel = Channel::over(stream).await.unwrap();
    KeyManagementServiceClient::with_origin(channel, Uri::from_static(authority))
}

/// Calls per second, with `in_flight` calls in flight.
async fn throughput(client: &Client, in_flight: usize) -> f64 {
    let begin = Instant::now();
    let callers = (0..in_flight).map(async |_| {
        let mut client = client.clone();
        for _ in 0..CALLS_PER_ROUND / in_flight {
            let request = DecryptRequest {
                ciphertext: vec![7; 142],
                uid: "bench".into(),
                ..DecryptRequest::default()
            };
            client.decrypt(request).await.unwrap();
        }
    });
    join_all(callers).await;
    CALLS_PER_ROUND as f64 / begin.elapsed().as_secs_f64()
}

fn sorted(mut values: Vec<f64>) -> Vec<f64> {
    values.sort_by(f64::total_cmp);
    values
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let sockets: [PathBuf; 2] = ["plain.sock", "mended.sock"].map(|name| directory.path().join(name));
    serve(&sockets[0], false);
    serve(&sockets[1], true);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        println!(
            "calls a second without the adapter, and the ratio with it in the same round: lowest, median, highest of {ROUNDS}"
        );
        println!("{:>10} {:>9} {:>9} {:>18}", "authority", "in flight", "without", "with");
        for (name, authority) in AUTHORITIES {
            let (plain, mended) = (connect(&sockets[0], authority).await, connect(&sockets[1], authority).await);
            for in_flight in IN_FLIGHT {
                let (mut base, mut ratios) = (Vec::new(), Vec::new());
                for round in 0..ROUNDS {
                    // The order of the two affects the result, so they alternate.
                    let (without, with) = if round % 2 == 0 {
                        let without = throughput(&plain, in_flight).await;
                        (without, throughput(&mended, in_flight).await)
                    } else {
                        let with = throughput(&mended, in_flight).await;
                        (throughput(&plain, in_flight).await, with)
                    };
                    base.push(without);
                    ratios.push(with / without);
                }
                let (base, ratios) = (sorted(base), sorted(ratios));
                println!(
                    "{name:>10} {in_flight:>9} {:>9.0}   {:.2}, {:.2}, {:.2}",
                    base[ROUNDS / 2],
                    ratios[0],
                    ratios[ROUNDS / 2],
                    ratios[ROUNDS - 1],
                );
            }
        }
    });
}
