//! The envelope's promises, tested with paused time and with root keys that fail on command.

mod commitments;
mod connections;
mod hard_limits;
mod limits;
mod listings;
mod outage;
mod reading;
mod rotation;
mod slow_disk;
mod unopened;

use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use zeroize::Zeroizing;

use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::envelope::Envelope;
use crate::envelope::Parts;
use crate::envelope::Purpose;
use crate::envelope::SealedPayload;
use crate::envelope::Store;
use crate::envelope::error::EnvelopeError;
use crate::envelope::policy::Policy;
use crate::files::io_thread::FileThread;
use crate::root_key::RootKey;
use crate::root_key::fake::Fake;
use crate::root_key::fake::active_from;
use crate::root_key::high_water::HighWaterFile;
use crate::root_key::sealed_format::Sealed;
use crate::telemetry::metrics::Metrics;

/// The calendar at the start of each test.
const START: u64 = 1_800_000_000;

const SEED: [u8; 32] = [42; 32];

/// A running node: an envelope over fakes, with a state directory that outlives it.
struct Node {
    envelope: Envelope,
    clock: Clock,
    task: JoinHandle<()>,
    _state: Arc<TempDir>,
}

impl Drop for Node {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Node {
    /// Starts a node and lets it settle.
    async fn start(stores: &[&Arc<Fake>], state: &Arc<TempDir>, policy: Policy) -> Self {
        Self::start_at(stores, state, policy, Clock::turned(Timestamp::from_unix(START))).await
    }

    async fn start_at(stores: &[&Arc<Fake>], state: &Arc<TempDir>, policy: Policy, clock: Clock) -> Self {
        let stores = stores.iter().map(|fake| Arc::clone(fake) as Arc<dyn RootKey>);
        Self::start_on(stores.collect(), state, policy, clock, FileThread::in_place()).await
    }

    /// Starts a node with any root keys and any disk.
    async fn start_on(
        stores: Vec<Arc<dyn RootKey>>,
        state: &Arc<TempDir>,
        policy: Policy,
        clock: Clock,
        files: FileThread,
    ) -> Self {
        let stores = stores.into_iter().enumerate().map(|(number, root_key)| Store {
            name: format!("store-{number}").parse().unwrap(),
            root_key,
        });
        let envelope = Envelope::new(Parts {
            stores: stores.collect(),
            purposes: vec![Purpose::Kms2],
            policy,
            high_water: HighWaterFile::of(state.path()),
            files,
            clock: clock.clone(),
            metrics: Metrics::new(),
        });
        let running = envelope.clone();
        let task = tokio::spawn(async move { running.run().await });
        let node = Self {
            envelope,
            clock,
            task,
            _state: state.clone(),
        };
        sleep(1).await;
        node
    }

    async fn encrypt(&self) -> Result<SealedPayload, EnvelopeError> {
        self.envelope.encrypt(Purpose::Kms2, &SEED, patience()).await
    }

    async fn decrypt(&self, sealed: &SealedPayload) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        self.decrypt_bytes(&sealed.bytes).await
    }

    async fn decrypt_bytes(&self, bytes: &[u8]) -> Result<Zeroizing<Vec<u8>>, EnvelopeError> {
        self.envelope.decrypt(Purpose::Kms2, bytes, None, patience()).await
    }

    async fn reads(&self, sealed: &SealedPayload) -> bool {
        match self.decrypt(sealed).await {
            Ok(payload) => {
                assert_eq!(payload.as_slice(), SEED);
                true
            }
            Err(_) => false,
        }
    }
}

/// The header of a payload, which names its data key.
fn header(sealed: &SealedPayload) -> Vec<u8> {
    Sealed::parse(&sealed.bytes).unwrap().header.to_vec()
}

/// The deadline of kube-apiserver.
fn patience() -> Instant {
    Instant::now() + Duration::from_secs(3)
}

async fn sleep(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

fn state() -> Arc<TempDir> {
    Arc::new(tempfile::tempdir().unwrap())
}

/// A root key whose version 1 has been active for a long time.
fn one_version() -> Arc<Fake> {
    let fake = Fake::new();
    fake.set(1, active_from(START - 100_000));
    fake
}

/// One sealed payload under each of `data_keys` data keys of version 1, made by processes that have ended.
async fn sealed_elsewhere(fake: &Fake, data_keys: usize) -> Vec<SealedPayload> {
    let mut all = Vec::new();
    for _ in 0..data_keys {
        let node = Node::start(&[&fake.replica()], &state(), Policy::default()).await;
        all.push(node.encrypt().await.unwrap());
    }
    all
}
