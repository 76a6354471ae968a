//! A running envelope over a fake root key with switches, for the tests of the services.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tonic::service::Routes;
use tracing::subscriber::DefaultGuard;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::envelope::Parts;
use crate::envelope::Store;
use crate::envelope::policy::Policy;
use crate::files::io_thread::FileThread;
use crate::kms::options::KmsOptions;
use crate::kms::request_log::RequestLog;
use crate::root_key::fake::Fake;
use crate::root_key::fake::active_from;
use crate::root_key::high_water::HighWaterFile;
use crate::telemetry::metrics::Metrics;

/// A payload of kube-apiserver: a seed with KMS v2, a data key with KMS v1.
pub(super) const PAYLOAD: [u8; 32] = *b"a seed of 32 bytes, never logged";

/// The envelope behind the services, and its root key.
pub(super) struct Plugin {
    pub(super) envelope: Envelope,
    pub(super) log_requests: Arc<AtomicBool>,
    reconciler: JoinHandle<()>,
    _state: TempDir,
}

impl Drop for Plugin {
    fn drop(&mut self) {
        self.reconciler.abort();
    }
}

impl Plugin {
    /// Ready if the root key is.
    pub(super) async fn start(root_key: &Arc<Fake>) -> Self {
        let state = tempfile::tempdir().unwrap();
        let envelope = Envelope::new(Parts {
            stores: vec![Store {
                name: "kube-root".parse().unwrap(),
                root_key: root_key.clone(),
            }],
            purposes: KmsOptions::default().purposes(),
            policy: Policy::default(),
            high_water: HighWaterFile::of(state.path()),
            files: FileThread::in_place(),
            clock: Clock::turned(Timestamp::from_unix(1_800_000_000)),
            metrics: Metrics::new(),
        });
        let reconciler = tokio::spawn({
            let envelope = envelope.clone();
            async move { envelope.run().await }
        });
        tokio::time::sleep(Duration::from_secs(1)).await;
        Self {
            envelope,
            log_requests: Arc::new(AtomicBool::new(false)),
            reconciler,
            _state: state,
        }
    }

    pub(super) fn request_log(&self) -> RequestLog {
        RequestLog::new(self.log_requests.clone())
    }

    /// All services, as the listener gets them.
    pub(super) fn routes(&self, options: &KmsOptions) -> Routes {
        crate::kms::routes(self.envelope.clone(), options, self.log_requests.clone())
    }
}

/// A root key with one version, which is active.
pub(super) fn root_key() -> Arc<Fake> {
    let fake = Fake::new();
    fake.set(1, active_from(1_700_000_000));
    fake
}

/// The log lines of one test.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Collects all log lines as JSON until the guard is dropped.
    pub(super) fn as_json() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().json();
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    /// Collects all log lines as text, which shows line breaks, until the guard is dropped.
    pub(super) fn as_text() -> (Self, DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    pub(super) fn taken(&self) -> String {
        String::from_utf8(std::mem::take(&mut *self.0.lock().unwrap())).unwrap()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
