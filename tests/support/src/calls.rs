//! Calls of KMS v2 as kube-apiserver makes them: many at once, each with a deadline.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use dekhand::proto::v2::EncryptRequest;
use dekhand::proto::v2::EncryptResponse;
use dekhand::proto::v2::StatusRequest;
use dekhand::proto::v2::key_management_service_client::KeyManagementServiceClient;
use dekhand::rpc::client::Channel;
use tonic::Code;
use tonic::Request;
use tonic::Status;

use crate::daemon::Daemon;
use crate::daemon::HANG;
use crate::daemon::request_for;
use crate::daemon::wait_for;
use crate::pulse::Stopwatch;
use crate::token_node::Node;
use crate::token_node::Settings;

/// kube-apiserver's deadline.
pub const PATIENCE: Duration = Duration::from_secs(3);

/// The plaintext in these tests.
pub const SEED: &[u8] = b"a seed of the API server, 32 b.!";

/// Calls over one connection. Clones share it.
#[derive(Clone)]
pub struct Kms(KeyManagementServiceClient<Channel>);

impl Kms {
    pub async fn connect(socket: &Path) -> Self {
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        Self(Channel::over(stream).await.unwrap().kms_v2())
    }

    /// Connects as soon as the socket exists.
    pub async fn when_open(socket: &Path) -> Self {
        let begin = Instant::now();
        loop {
            if let Ok(stream) = tokio::net::UnixStream::connect(socket).await {
                return Self(Channel::over(stream).await.unwrap().kms_v2());
            }
            assert!(begin.elapsed() < HANG, "nobody listens");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// The `key_id` in Status, which answers within a second whatever happens to the token.
    pub async fn status(&self) -> Result<String, Status> {
        let stopwatch = Stopwatch::start();
        let answer = self.0.clone().status(within(PATIENCE, StatusRequest {})).await;
        let took = stopwatch.took();
        assert!(took < Duration::from_secs(1), "Status took {took:?}");
        let answer = answer?.into_inner();
        assert_eq!(answer.healthz, "ok", "what is not well is an error");
        Ok(answer.key_id)
    }

    pub async fn encrypt(&self) -> Result<EncryptResponse, Status> {
        self.encrypt_within(PATIENCE).await
    }

    pub async fn encrypt_within(&self, patience: Duration) -> Result<EncryptResponse, Status> {
        let request = EncryptRequest {
            plaintext: SEED.to_vec(),
            uid: "test".into(),
        };
        let answer = self.0.clone().encrypt(within(patience, request)).await;
        answer.map(tonic::Response::into_inner)
    }

    pub async fn decrypt(&self, sealed: &EncryptResponse) -> Result<(), Status> {
        self.decrypt_within(PATIENCE, sealed).await
    }

    /// Opens a payload that [`Kms::encrypt`] has sealed.
    pub async fn decrypt_within(&self, patience: Duration, sealed: &EncryptResponse) -> Result<(), Status> {
        let request = request_for(sealed);
        let answer = self.0.clone().decrypt(within(patience, request)).await?;
        assert_eq!(answer.get_ref().plaintext, SEED);
        Ok(())
    }

    /// Waits until Status has the expected result.
    pub async fn until_status(&self, what: &str, holds: impl Fn(Result<&str, Code>) -> bool) {
        let begin = Instant::now();
        loop {
            let status = self.status().await;
            if holds(status.as_deref().map_err(Status::code)) {
                return;
            }
            assert!(begin.elapsed() < HANG, "never: {what}; Status says {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits until a sealed payload opens.
    pub async fn until_open(&self, sealed: &EncryptResponse) {
        let begin = Instant::now();
        while let Err(status) = self.decrypt(sealed).await {
            assert!(begin.elapsed() < HANG, "it never opens: {status:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

fn within<M>(patience: Duration, message: M) -> Request<M> {
    let mut request = Request::new(message);
    request.set_timeout(patience);
    request
}

/// Payloads under a data key each, which no daemon has in memory: each costs one call to the token.
pub async fn stock(node: &Node, settings: Settings<'_>, count: usize) -> Vec<EncryptResponse> {
    let lines = &["data_keys: {reuse: never}"];
    node.configure(Settings { lines, ..settings });
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    let mut stock = Vec::new();
    for _ in 0..count {
        stock.push(kms.encrypt().await.unwrap());
    }
    assert_eq!(stop(daemon).await.0, Some(0));
    node.configure(settings);
    stock
}

/// Waits until the proof record of a node's one version is complete: what is missing of it is made behind the first wrap,
/// by calls to the token that belong to no request.
pub async fn until_proofs_are_made(node: &Node) {
    let file = node.path("state/proofs.json");
    let proofs = || {
        std::fs::read_to_string(&file)
            .unwrap_or_default()
            .matches("\"wrapped\"")
            .count()
    };
    // SoftHSM has AES-GCM and AES-CBC.
    until("both proofs are written down", || proofs() == 2).await;
}

/// Stops a daemon. Meanwhile connections to it are served, so that it need not wait for them.
pub async fn stop(daemon: Daemon) -> (Option<i32>, String) {
    tokio::task::spawn_blocking(|| daemon.stop()).await.unwrap()
}

/// Waits for a condition, while calls continue.
pub async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begin = Instant::now();
    while !holds() {
        assert!(begin.elapsed() < HANG, "never: {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the daemon's log has these words; shows the log if it never has.
pub async fn until_logged(daemon: &Daemon, words: &str) {
    let begin = Instant::now();
    while !daemon.log().contains(words) {
        assert!(begin.elapsed() < HANG, "never logged: {words}\n{}", daemon.log());
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

/// Waits until the daemon has noticed that its token is unavailable.
pub async fn until_away(daemon: &Daemon) {
    let words = [
        "the root key is unavailable; dekhand continues",
        "the versions cannot be listed",
    ];
    until("the outage is noticed", || says(daemon, words)).await;
}

/// Waits until the daemon has noticed that its token is available again.
pub async fn until_back(daemon: &Daemon) {
    let words = ["the root key is back", "the versions can be listed again"];
    until("the token is found", || says(daemon, words)).await;
}

/// A probe or a listing may be the first to notice.
fn says(daemon: &Daemon, words: [&str; 2]) -> bool {
    let log = daemon.log();
    words.iter().any(|words| log.contains(words))
}

/// Starts the daemon with the operators' HTTP endpoint, and waits until Status is ok.
pub fn start_with_http(node: &Node) -> (Daemon, SocketAddr) {
    let config = node.config();
    let arguments = [
        "serve",
        "--config",
        &config,
        "--http",
        "127.0.0.1:0",
        "--log-format",
        "json",
    ];
    let daemon = Daemon::spawn(&arguments);
    let address = daemon.http_address();
    wait_for("status is content", || node.status().status.success());
    (daemon, address)
}
