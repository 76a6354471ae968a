//! A daemon whose token takes 5 ms for each call: the gain of several sessions, and the latency for callers.
//!
//! `cargo bench --bench token` prints ratios of one run, as `decrypt.rs` does. The token is `SoftHSM` behind the tests'
//! shim; the daemon is the program with its processes.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    clippy::indexing_slicing,
    reason = "a benchmark prints"
)]

use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use dekhand::listener::Listener;
use dekhand::listener::options::ListenerOptions;
use dekhand::listener::options::SocketAddress;
use dekhand::proto::v2::DecryptRequest;
use dekhand::proto::v2::DecryptResponse;
use dekhand::proto::v2::EncryptRequest;
use dekhand::proto::v2::EncryptResponse;
use dekhand::proto::v2::StatusRequest;
use dekhand::proto::v2::StatusResponse;
use dekhand::proto::v2::key_management_service_server::KeyManagementService;
use dekhand::proto::v2::key_management_service_server::KeyManagementServiceServer;
use dekhand::telemetry::metrics::Metrics;
use futures_util::future::join_all;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::service::Routes;

use support::calls::Kms;
use support::daemon::Daemon;
use support::token_node::Node;
use support::token_node::Settings;

const ROUNDS: usize = 5;
/// Encrypts in flight that wait for the token.
const WAITING: usize = 16;
const SLOW: &str = "C_Encrypt,C_Decrypt delay 5ms";

/// An empty call, as the baseline.
struct Empty;

#[tonic::async_trait]
impl KeyManagementService for Empty {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let healthz = "ok".to_owned();
        Ok(Response::new(StatusResponse {
            healthz,
            ..StatusResponse::default()
        }))
    }

    async fn decrypt(&self, _: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        Ok(Response::new(DecryptResponse::default()))
    }

    async fn encrypt(&self, _: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        Ok(Response::new(EncryptResponse::default()))
    }
}

/// Serves empty calls on its own thread until the process ends.
fn serve_empty(socket: &Path) {
    let options = ListenerOptions::at(SocketAddress::Path(socket.to_owned()));
    let listener = Listener::open(&options, "empty", None, Metrics::new()).unwrap();
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let routes = Routes::new(KeyManagementServiceServer::new(Empty)).prepare();
        runtime.block_on(async { listener.serve(routes, std::future::pending()).await.unwrap() });
    });
}

/// A node that calls its token for each Encrypt, and a daemon on it.
fn start(sessions: &str) -> (Node, Daemon) {
    let node = Node::with(Settings {
        shared: true,
        pkcs11: &["call_timeout: 10s", sessions],
        lines: &["probe: {interval: 1h}", "data_keys: {reuse: never}"],
    });
    let daemon = node.start();
    (node, daemon)
}

/// Calls per second, with `in_flight` calls in flight.
async fn throughput<F: Future<Output = ()>>(kms: &Kms, calls: usize, in_flight: usize, call: impl Fn(Kms) -> F) -> f64 {
    let begin = Instant::now();
    let callers = (0..in_flight).map(async |_| {
        for _ in 0..calls / in_flight {
            call(kms.clone()).await;
        }
    });
    join_all(callers).await;
    calls as f64 / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

/// The median and the 99th percentile of the latency of Status, in microseconds.
async fn status_times(kms: &Kms) -> [f64; 2] {
    const CALLS: usize = 10_000;
    let mut times = Vec::with_capacity(CALLS);
    for _ in 0..CALLS {
        let begin = Instant::now();
        kms.status().await.unwrap();
        times.push(begin.elapsed().as_secs_f64() * 1e6);
    }
    times.sort_by(f64::total_cmp);
    [times[CALLS / 2], times[CALLS / 100 * 99]]
}

async fn sessions() {
    const CALLS: usize = 400;
    let (one, _one) = start("sessions: 1");
    let (four, _four) = start("sessions: 4");
    for node in [&one, &four] {
        node.token.set(SLOW);
    }
    let (one, four) = (Kms::connect(&one.socket()).await, Kms::connect(&four.socket()).await);
    let encrypt = async |kms: Kms| drop(kms.encrypt().await.unwrap());
    let (mut base, mut ratios) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        let with_one = throughput(&one, CALLS, WAITING, encrypt).await;
        base.push(with_one);
        ratios.push(throughput(&four, CALLS, WAITING, encrypt).await / with_one);
    }
    println!(
        "Encrypts a second with `reuse: never` (two token calls each), {WAITING} in flight: {:.0} with `sessions: 1`, \
         {:.2} times as many with `sessions: 4`",
        median(base),
        median(ratios)
    );
}

async fn beside_a_slow_token() {
    const CALLS: usize = 20_000;
    let (quick, _quick) = start("sessions: 1");
    let (slow, _slow) = start("sessions: 1");
    serve_empty(&quick.path("empty.sock"));
    slow.token.set(SLOW);
    let empty = Kms::connect(&quick.path("empty.sock")).await;
    let (quick, slow) = (Kms::connect(&quick.socket()).await, Kms::connect(&slow.socket()).await);
    let sealed = [quick.encrypt().await.unwrap(), slow.encrypt().await.unwrap()];
    // From here on the token is busy, and calls wait for it.
    let busy: Vec<_> = (0..WAITING)
        .map(|_| {
            let slow = slow.clone();
            tokio::task::spawn_local(async move {
                loop {
                    slow.encrypt().await.unwrap();
                }
            })
        })
        .collect();
    for in_flight in [1, 8, 64] {
        let (mut base, mut ratios) = (Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let rates = [(&quick, &sealed[0]), (&slow, &sealed[1])];
            let [quick, slow] = rates.map(async |(kms, sealed)| {
                let decrypt = async |kms: Kms| kms.decrypt(sealed).await.unwrap();
                throughput(kms, CALLS, in_flight, decrypt).await
            });
            let quick = quick.await;
            base.push(quick);
            ratios.push(slow.await / quick);
        }
        println!(
            "cached Decrypts a second, {in_flight} in flight: {:.0} with an idle token, {:.2} times as many beside a \
             token that is slow and busy",
            median(base),
            median(ratios)
        );
    }
    let mut ratios = [Vec::new(), Vec::new()];
    let mut base = [Vec::new(), Vec::new()];
    for _ in 0..ROUNDS {
        let (nothing, status) = (status_times(&empty).await, status_times(&slow).await);
        for ((ratios, base), (status, nothing)) in ratios.iter_mut().zip(&mut base).zip(status.into_iter().zip(nothing))
        {
            base.push(nothing);
            ratios.push(status / nothing);
        }
    }
    let [p50, p99] = ratios.map(median);
    let [base_p50, base_p99] = base.map(median);
    println!(
        "Status beside a token that is slow and busy: p50 {p50:.2} times the empty call's {base_p50:.0} us, p99 {p99:.2} \
         times its {base_p99:.0} us"
    );
    busy.iter().for_each(tokio::task::JoinHandle::abort);
    tokio::time::sleep(Duration::from_millis(1)).await;
}

fn main() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    println!("a token of 5 ms a call; medians of {ROUNDS} rounds");
    runtime.block_on(tokio::task::LocalSet::new().run_until(async {
        sessions().await;
        beside_a_slow_token().await;
    }));
}
