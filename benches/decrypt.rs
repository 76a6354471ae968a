//! Compares a cached Decrypt, an Encrypt and a Status, and those of KMS v1, with an empty call over the same listener,
//! in one run.
//!
//! `cargo bench` prints throughput and ratios. Machines are noisy: only the ratios of one run are meaningful.

#![allow(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::cast_precision_loss,
    reason = "a benchmark prints"
)]

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;
use std::time::Instant;

use dekhand::backend::keyring::Keyring;
use dekhand::backend::keyring::KeyringOptions;
use dekhand::backend::keyring::file::KeyringFile;
use dekhand::clock::Clock;
use dekhand::envelope::Envelope;
use dekhand::envelope::Parts;
use dekhand::envelope::Store;
use dekhand::envelope::policy::Policy;
use dekhand::files::io_thread::FileThread;
use dekhand::kms;
use dekhand::kms::options::KmsOptions;
use dekhand::listener::Listener;
use dekhand::listener::options::ListenerOptions;
use dekhand::listener::options::SocketAddress;
use dekhand::proto::v1beta1;
use dekhand::proto::v1beta1::key_management_service_client::KeyManagementServiceClient as V1beta1Client;
use dekhand::proto::v2::DecryptRequest;
use dekhand::proto::v2::DecryptResponse;
use dekhand::proto::v2::EncryptRequest;
use dekhand::proto::v2::EncryptResponse;
use dekhand::proto::v2::StatusRequest;
use dekhand::proto::v2::StatusResponse;
use dekhand::proto::v2::key_management_service_client::KeyManagementServiceClient;
use dekhand::proto::v2::key_management_service_server::KeyManagementService;
use dekhand::proto::v2::key_management_service_server::KeyManagementServiceServer;
use dekhand::root_key::high_water::HighWaterFile;
use dekhand::root_key::name::RootKeyName;
use dekhand::rpc::client::Channel;
use dekhand::telemetry::metrics::Metrics;
use futures_util::future::join_all;
use tempfile::TempDir;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::service::Routes;

const ROUNDS: usize = 5;
const CALLS_PER_ROUND: usize = 20_000;
const IN_FLIGHT: [usize; 3] = [1, 8, 64];

type Client = KeyManagementServiceClient<Channel>;
type V1Client = V1beta1Client<Channel>;

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
fn serve(directory: &TempDir, name: &str, routes: impl FnOnce() -> Routes + Send + 'static) -> SocketAddress {
    let socket = SocketAddress::Path(directory.path().join(name));
    let options = ListenerOptions::at(socket.clone());
    let listener = Listener::open(&options, name, None, Metrics::new()).unwrap();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { listener.serve(routes(), std::future::pending()).await.unwrap() });
    });
    socket
}

fn dekhand_over_a_keyring(directory: &TempDir) -> impl FnOnce() -> Routes + Send + 'static {
    let name: RootKeyName = "bench".parse().unwrap();
    let options = KeyringOptions {
        file: directory.path().join("keyring.json"),
    };
    KeyringFile::new(&options, name.clone())
        .create_for_trying_out(Clock::system().now())
        .unwrap();
    let high_water = HighWaterFile::of(directory.path());
    move || {
        let files = FileThread::start().unwrap();
        let root_key = Arc::new(Keyring::new(&options, name.clone(), files.clone()));
        let envelope = Envelope::new(Parts {
            stores: vec![Store { name, root_key }],
            purposes: KmsOptions::default().purposes(),
            policy: Policy::default(),
            high_water,
            files,
            clock: Clock::system(),
            metrics: Metrics::new(),
        });
        let running = envelope.clone();
        tokio::spawn(async move { running.run().await });
        kms::routes(envelope, &KmsOptions::default(), Arc::new(AtomicBool::new(false)))
    }
}

async fn connect(socket: &SocketAddress) -> Channel {
    let SocketAddress::Path(path) = socket else {
        unreachable!("opened above")
    };
    let stream = tokio::net::UnixStream::connect(path).await.unwrap();
    Channel::over(stream).await.unwrap()
}

/// Calls per second, with `in_flight` calls in flight.
async fn throughput<C: Clone, F: Future<Output = ()>>(client: &C, in_flight: usize, call: impl Fn(C) -> F) -> f64 {
    let begin = Instant::now();
    let callers = (0..in_flight).map(async |_| {
        for _ in 0..CALLS_PER_ROUND / in_flight {
            call(client.clone()).await;
        }
    });
    join_all(callers).await;
    CALLS_PER_ROUND as f64 / begin.elapsed().as_secs_f64()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    let directory = tempfile::tempdir().unwrap();
    let empty = serve(&directory, "empty.sock", || {
        Routes::new(KeyManagementServiceServer::new(Empty)).prepare()
    });
    let dekhand = serve(&directory, "kms.sock", dekhand_over_a_keyring(&directory));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (empty, channel) = (connect(&empty).await.kms_v2(), connect(&dekhand).await);
        let mut dekhand_v1 = channel.clone().kms_v1beta1();
        let mut dekhand = channel.kms_v2();
        while dekhand.status(StatusRequest {}).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let plaintext = vec![7; 32];
        let seal = EncryptRequest {
            plaintext,
            uid: "bench".into(),
        };
        let sealed = dekhand.encrypt(seal.clone()).await.unwrap().into_inner();
        let open = DecryptRequest {
            ciphertext: sealed.ciphertext,
            uid: "bench".into(),
            key_id: sealed.key_id,
            annotations: sealed.annotations,
        };
        let seal_v1 = v1beta1::EncryptRequest {
            version: "v1beta1".into(),
            plain: vec![7; 32],
        };
        let open_v1 = v1beta1::DecryptRequest {
            version: "v1beta1".into(),
            cipher: dekhand_v1.encrypt(seal_v1.clone()).await.unwrap().into_inner().cipher,
        };
        let decrypt = async |mut client: Client| drop(client.decrypt(open.clone()).await.unwrap());
        let encrypt = async |mut client: Client| drop(client.encrypt(seal.clone()).await.unwrap());
        let decrypt_v1 = async |mut client: V1Client| drop(client.decrypt(open_v1.clone()).await.unwrap());
        let encrypt_v1 = async |mut client: V1Client| drop(client.encrypt(seal_v1.clone()).await.unwrap());
        let status = async |mut client: Client| drop(client.status(StatusRequest {}).await.unwrap());

        println!(
            "calls a second, median of {ROUNDS} rounds of {CALLS_PER_ROUND}; ratio to the empty call of the same round"
        );
        println!(
            "{:>9} {:>9} {:>17} {:>17} {:>17} {:>17} {:>17}",
            "in flight", "empty", "Decrypt, cached", "Encrypt", "Status", "v1 Decrypt", "v1 Encrypt"
        );
        for in_flight in IN_FLIGHT {
            let (mut base, mut ratios) = (Vec::new(), [const { Vec::new() }; 5]);
            for _ in 0..ROUNDS {
                let nothing = throughput(&empty, in_flight, decrypt).await;
                base.push(nothing);
                let [decrypts, encrypts, statuses, opened_v1, sealed_v1] = &mut ratios;
                decrypts.push(throughput(&dekhand, in_flight, decrypt).await / nothing);
                encrypts.push(throughput(&dekhand, in_flight, encrypt).await / nothing);
                statuses.push(throughput(&dekhand, in_flight, status).await / nothing);
                opened_v1.push(throughput(&dekhand_v1, in_flight, decrypt_v1).await / nothing);
                sealed_v1.push(throughput(&dekhand_v1, in_flight, encrypt_v1).await / nothing);
            }
            let base = median(base);
            let cells = ratios.map(|ratios| {
                let ratio = median(ratios);
                format!("{:>9.0} ({ratio:.2})", ratio * base)
            });
            println!(
                "{in_flight:>9} {base:>9.0} {:>17} {:>17} {:>17} {:>17} {:>17}",
                cells[0], cells[1], cells[2], cells[3], cells[4]
            );
        }
    });
}
