//! A daemon, joined from its parts as the app joins them, with its KMS services. The only file that uses the library's
//! serving side.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use dekhand::caller::Caller;
use dekhand::clock::Clock;
use dekhand::envelope::Envelope;
use dekhand::envelope::Parts;
use dekhand::envelope::Store;
use dekhand::envelope::policy::Policy;
use dekhand::files::io_thread::FileThread;
use dekhand::kms;
use dekhand::kms::options::KmsOptions;
use dekhand::proto::v2::DecryptRequest;
use dekhand::proto::v2::EncryptRequest;
use dekhand::proto::v2::StatusRequest;
use dekhand::proto::v2::StatusResponse;
use dekhand::proto::v2::key_management_service_client::KeyManagementServiceClient;
use dekhand::root_key::RootKey;
use dekhand::root_key::high_water::HighWaterFile;
use dekhand::root_key::name::RootKeyName;
use dekhand::root_key::sealed_format;
use dekhand::telemetry::metrics::Metrics;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tonic::Code;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::service::Routes;
use tracing::Instrument as _;

/// `kms.timeout` of an encryption configuration.
pub(crate) const TIMEOUT: Duration = Duration::from_secs(3);

/// The name of the one root key.
pub(crate) fn root_key_name() -> RootKeyName {
    RootKeyName::dev()
}

/// A running daemon.
pub(crate) struct Daemon {
    routes: Routes,
    task: JoinHandle<()>,
    pub(crate) since: Instant,
}

/// Why a call failed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) code: Code,
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(code: Code, message: &str) -> Self {
        let message = message.to_owned();
        Self { code, message }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

/// A sealed payload and its `key_id` in etcd.
#[derive(Clone, Debug)]
pub(crate) struct Sealed {
    pub(crate) bytes: Vec<u8>,
    pub(crate) key_id: String,
}

/// A data key, named by the header of every payload that it seals.
pub(crate) type DataKey = Box<[u8]>;

impl Sealed {
    pub(crate) fn data_key(&self) -> DataKey {
        sealed_format::Sealed::parse(&self.bytes).unwrap().header.into()
    }
}

impl Daemon {
    /// Starts the parts of a daemon on a node.
    pub(crate) fn start(node: usize, root_key: Arc<dyn RootKey>, policy: Policy, state: &Path, clock: &Clock) -> Self {
        let name = root_key_name();
        let options = KmsOptions::default();
        let envelope = Envelope::new(Parts {
            stores: vec![Store { name, root_key }],
            purposes: options.purposes(),
            policy,
            high_water: HighWaterFile::of(state),
            files: FileThread::in_place(),
            clock: clock.clone(),
            metrics: Metrics::new(),
        });
        let routes = kms::routes(envelope.clone(), &options, Arc::new(AtomicBool::new(false)));
        let span = tracing::info_span!("daemon", node);
        let reconciler = async move {
            envelope.run().await;
            // The app ends when its reconciler ends.
            panic!("the reconciler of node {node} has ended");
        };
        let task = tokio::spawn(reconciler.instrument(span));
        Self {
            routes,
            task,
            since: Instant::now(),
        }
    }

    /// A client of its socket.
    pub(crate) fn door(&self, until: Instant) -> Door {
        Door {
            client: KeyManagementServiceClient::new(self.routes.clone()),
            until,
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Calls one daemon in the way that the listener calls the services.
pub(crate) struct Door {
    client: KeyManagementServiceClient<Routes>,
    /// The caller's deadline.
    until: Instant,
}

impl Door {
    /// For the next call, with a new deadline.
    pub(crate) fn again(&self) -> Self {
        Self {
            client: self.client.clone(),
            until: Instant::now() + TIMEOUT,
        }
    }

    pub(crate) async fn status(&mut self) -> Result<StatusResponse, Failure> {
        within(self.until, self.client.status(request(self.until, StatusRequest {}))).await
    }

    pub(crate) async fn encrypt(&mut self, payload: &[u8]) -> Result<Sealed, Failure> {
        let message = EncryptRequest {
            plaintext: payload.to_vec(),
            uid: "sim".into(),
        };
        let answer = within(self.until, self.client.encrypt(request(self.until, message))).await?;
        if !answer.annotations.is_empty() {
            return Err(Failure::new(Code::Unknown, "there are annotations"));
        }
        Ok(Sealed {
            bytes: answer.ciphertext,
            key_id: answer.key_id,
        })
    }

    pub(crate) async fn decrypt(&mut self, sealed: &Sealed) -> Result<Vec<u8>, Failure> {
        let message = DecryptRequest {
            ciphertext: sealed.bytes.clone(),
            uid: "sim".into(),
            key_id: sealed.key_id.clone(),
            ..DecryptRequest::default()
        };
        let answer = within(self.until, self.client.decrypt(request(self.until, message))).await?;
        Ok(answer.plaintext.clone())
    }
}

fn request<T>(until: Instant, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request
        .extensions_mut()
        .insert(Caller::new(None, until.saturating_duration_since(Instant::now())));
    request
}

/// The caller's timeout ends the call, as in the listener.
async fn within<T>(until: Instant, call: impl Future<Output = Result<Response<T>, Status>>) -> Result<T, Failure> {
    match tokio::time::timeout_at(until, call).await {
        Ok(Ok(response)) => Ok(response.into_inner()),
        Ok(Err(status)) => Err(Failure::new(status.code(), status.message())),
        Err(_) => Err(Failure::new(
            Code::DeadlineExceeded,
            "the request's deadline has passed",
        )),
    }
}
