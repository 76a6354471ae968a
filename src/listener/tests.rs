//! The listener over real sockets, with well-behaved and hostile callers.

mod authority;
mod drain;
mod hostile;
mod removed;
mod requests;
mod wire;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tempfile::TempDir;
use tokio::net::UnixStream;
use tokio::sync::Notify;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::service::Routes;

use super::*;
use crate::proto::v2::DecryptRequest;
use crate::proto::v2::DecryptResponse;
use crate::proto::v2::EncryptRequest;
use crate::proto::v2::EncryptResponse;
use crate::proto::v2::StatusRequest;
use crate::proto::v2::StatusResponse;
use crate::proto::v2::key_management_service_client::KeyManagementServiceClient;
use crate::proto::v2::key_management_service_server::KeyManagementService;
use crate::proto::v2::key_management_service_server::KeyManagementServiceServer;
use crate::rpc::client::Channel;
use crate::telemetry::metrics::RequestLabels;

/// The limit of every wait: a test that hangs fails instead.
const HANG: Duration = Duration::from_secs(120);

type Client = KeyManagementServiceClient<Channel>;

/// A service that acts on the plaintext: `wait` waits for the test, `slow` takes 5 s, `panic` panics. It returns any
/// other plaintext, with the request's connection as the `key_id`.
#[derive(Clone, Default)]
struct Obedient {
    go_on: Arc<Notify>,
    waiting: Arc<AtomicUsize>,
}

struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[tonic::async_trait]
impl KeyManagementService for Obedient {
    async fn status(&self, request: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let deadline = caller_of(request.extensions()).deadline;
        Ok(Response::new(StatusResponse {
            version: "v2".into(),
            healthz: "ok".into(),
            key_id: deadline
                .duration_since(tokio::time::Instant::now())
                .as_secs()
                .to_string(),
        }))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        Ok(Response::new(DecryptResponse {
            plaintext: request.into_inner().ciphertext,
        }))
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let connection = caller_of(request.extensions()).connection;
        match request.get_ref().plaintext.as_slice() {
            b"wait" => {
                let _waiting = Waiting::new(&self.waiting);
                self.go_on.notified().await;
            }
            b"slow" => tokio::time::sleep(Duration::from_secs(5)).await,
            b"panic" => panic!("as the test wants it"),
            _ => {}
        }
        Ok(Response::new(EncryptResponse {
            ciphertext: request.get_ref().plaintext.clone(),
            key_id: format!("{connection:?}"),
            annotations: std::collections::HashMap::new(),
        }))
    }
}

/// A listener with this service, on a socket in a private directory.
struct Daemon {
    directory: TempDir,
    service: Obedient,
    metrics: Metrics,
    peers: Peers,
    claim: Claim,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<io::Result<()>>,
}

impl Daemon {
    fn start() -> Self {
        Self::start_with(|_| {})
    }

    fn start_with(change: impl FnOnce(&mut Listener)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = ListenerOptions::at(directory.path().join("kms.sock").to_str().unwrap().parse().unwrap());
        let metrics = Metrics::new();
        let mut listener = Listener::open(&options, "test", None, metrics.clone()).unwrap();
        change(&mut listener);
        let service = Obedient::default();
        let routes = KeyManagementServiceServer::new(service.clone()).max_decoding_message_size(256 << 10);
        let (stop, stopped) = oneshot::channel::<()>();
        Self {
            directory,
            service,
            metrics,
            peers: listener.peers(),
            claim: listener.claim(),
            stop: Some(stop),
            task: tokio::spawn(listener.serve(Routes::new(routes), async move {
                stopped.await.ok();
            })),
        }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(self.directory.path().join("kms.sock"))
            .await
            .unwrap()
    }

    async fn client(&self) -> Client {
        Channel::over(self.connect().await).await.unwrap().kms_v2()
    }

    fn stop(&mut self) {
        self.stop.take().unwrap().send(()).unwrap();
    }

    /// Waits until the service holds `count` waiting calls.
    async fn until_waiting(&self, count: usize) {
        until(|| self.service.waiting.load(Ordering::Relaxed) == count).await;
    }

    /// The number of calls of a KMS v2 method, or of unknown methods (`other`), that ended with this code.
    fn answered(&self, method: &'static str, code: &'static str) -> u64 {
        let api = if method == "other" { "other" } else { "v2" };
        self.metrics
            .requests
            .get_or_create(&RequestLabels { api, method, code })
            .get()
    }
}

async fn until(condition: impl Fn() -> bool) {
    let reached = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(HANG, reached)
        .await
        .expect("what the test waits for happens");
}

async fn encrypt(client: &Client, plaintext: &[u8]) -> Result<Vec<u8>, Status> {
    let request = EncryptRequest {
        plaintext: plaintext.to_vec(),
        uid: "test".into(),
    };
    let mut client = client.clone();
    let answer = tokio::time::timeout(HANG, client.encrypt(request)).await;
    Ok(answer.expect("an answer comes")?.into_inner().ciphertext)
}
