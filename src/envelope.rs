//! Seals payloads under data keys, and opens them.
//!
//! [`Envelope`] answers the KMS services, from memory wherever possible. In the background, `reconcile` calls the root
//! keys: it lists versions, makes data keys and probes. `promotion` decides which version encrypts. A timer wipes the
//! data keys of `unopened`. `encrypt` takes the current data key; `decrypt` calls a root key once per wrapped key.

pub(crate) mod cache;
pub(crate) mod data_key;
pub(crate) mod decrypt;
pub(crate) mod encrypt;
pub mod error;
pub(crate) mod locations;
pub mod policy;
pub(crate) mod promotion;
pub(crate) mod reconcile;
pub(crate) mod rollover;
pub(crate) mod state;
pub(crate) mod store_health;
#[cfg(test)]
mod tests;
pub(crate) mod unopened;

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::watch;

use crate::caller::Caller;
use crate::clock::Clock;
pub use crate::crypto::derive::Purpose;
use crate::crypto::suite::Suite;
use crate::envelope::data_key::DataKey;
use crate::envelope::data_key::LONGEST_SEALED;
use crate::envelope::error::EnvelopeError;
use crate::envelope::policy::Policy;
use crate::envelope::state::EnvelopeState;
use crate::envelope::state::ListingWanted;
use crate::envelope::store_health::Event;
use crate::envelope::store_health::HealthChange;
use crate::files::io_thread::FileThread;
use crate::quota::ASSURED_CALLS;
use crate::quota::Pool;
use crate::quota::Quota;
use crate::quota::QuotaSize;
use crate::root_key::RootKey;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::high_water::HighWaterFile;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::waiters::Waiters;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::VersionLabels;

/// Each backend limits its own calls. This limit is for a call that never ends: it would stop the reconciler for good.
const CALL_LIMIT: Duration = Duration::from_secs(30);

/// A sealed payload and the `key_id` under which it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealedPayload {
    /// The bytes of the sealed format.
    pub bytes: Vec<u8>,
    /// The id inside.
    pub key_id: KeyId,
}

/// One root key of the configuration.
#[derive(Clone, Debug)]
pub struct Store {
    /// Its name.
    pub name: RootKeyName,
    /// The backend.
    pub root_key: Arc<dyn RootKey>,
}

/// The parts of an [`Envelope`].
#[derive(Debug)]
pub struct Parts {
    /// The root keys: the first encrypts, all decrypt. There is at least one.
    pub stores: Vec<Store>,
    /// The purposes for which data keys are made in advance.
    pub purposes: Vec<Purpose>,
    /// The operator's settings.
    pub policy: Policy,
    /// The file of the highest reported version.
    pub high_water: HighWaterFile,
    /// The thread that reads and writes files.
    pub files: FileThread,
    /// The time.
    pub clock: Clock,
    /// The daemon's metrics.
    pub metrics: Metrics,
}

/// The limits of callers' concurrent calls to root keys. The limit of one connection equals the listener's limit of
/// requests, so a kube-apiserver that starts and reads under hundreds of data keys is not refused here. Calls whose
/// connection has closed meanwhile count too.
const CALLS: QuotaSize = QuotaSize {
    per_connection: 512,
    assured: ASSURED_CALLS,
    pool: Pool::WithAssured(1024),
};

/// Seals and opens payloads. Cheap to clone; clones share their state.
#[derive(Clone, Debug)]
pub struct Envelope(Arc<Inner>);

#[derive(Debug)]
pub(crate) struct Inner {
    stores: Vec<Store>,
    purposes: Vec<Purpose>,
    high_water: HighWaterFile,
    files: FileThread,
    clock: Clock,
    metrics: Metrics,
    state: Mutex<EnvelopeState>,
    /// Wakes waiting callers: a data key, the listing or the primary has changed.
    changes: watch::Sender<()>,
    reconcile_wanted: Notify,
    switch_wanted: Notify,
    /// Limits the unwraps that callers wait for.
    unwrap_quota: Quota,
    /// Limits the data keys that are made for one payload each.
    single_use: Quota,
}

impl Envelope {
    /// Joins the parts. Nothing happens before [`Envelope::run`].
    pub fn new(parts: Parts) -> Self {
        let Parts {
            stores,
            purposes,
            policy,
            high_water,
            files,
            clock,
            metrics,
        } = parts;
        let state = Mutex::new(EnvelopeState::new(policy, stores.len()));
        Self(Arc::new(Inner {
            stores,
            purposes,
            high_water,
            files,
            clock,
            metrics,
            state,
            changes: watch::Sender::default(),
            reconcile_wanted: Notify::new(),
            switch_wanted: Notify::new(),
            unwrap_quota: Quota::new(CALLS),
            single_use: Quota::new(CALLS),
        }))
    }

    /// Keeps data keys, versions and health up to date. Never returns.
    pub async fn run(&self) {
        tokio::join!(
            reconcile::run(&self.0),
            promotion::run(&self.0),
            unopened::wipe(&self.0)
        );
    }

    /// The `key_id` that [`Envelope::encrypt`] would use now, from memory.
    ///
    /// # Errors
    /// Nothing can be sealed now, or a read failed within the last minute.
    pub fn status(&self) -> Result<KeyId, EnvelopeError> {
        let state = self.0.lock();
        state.ready(self.0.clock.boottime()).map(|version| version.id.clone())
    }

    /// The `key_id`, and any fault that does not stop calls yet, as a sentence for the operator.
    ///
    /// # Errors
    /// As [`Envelope::status`].
    pub fn health(&self) -> Result<String, EnvelopeError> {
        let state = self.0.lock();
        let key_id = &state.ready(self.0.clock.boottime())?.id;
        Ok(match state.concern() {
            None => format!("key_id {key_id}"),
            Some(concern) => format!("key_id {key_id}; {concern}"),
        })
    }

    /// Seals a payload under the current data key. Calls a root key only if data keys are never reused.
    ///
    /// # Cancel safety
    /// Dropping it undoes nothing: a data key that is being made for this payload is lost.
    ///
    /// # Errors
    /// No version may encrypt, or the payload is empty or too long.
    pub async fn encrypt(
        &self,
        purpose: Purpose,
        payload: &[u8],
        caller: impl Into<Caller>,
    ) -> Result<SealedPayload, EnvelopeError> {
        // Before it counts against the limits of a data key. The exact limit depends on the header.
        if payload.is_empty() || payload.len() > LONGEST_SEALED {
            return Err(EnvelopeError::PayloadLength {
                length: payload.len(),
                limit: LONGEST_SEALED,
            });
        }
        let data_key = encrypt::data_key_for(&self.0, purpose, payload.len(), caller.into()).await?;
        let bytes = data_key.seal(payload, LONGEST_SEALED)?;
        Ok(SealedPayload {
            bytes,
            key_id: data_key.id.clone(),
        })
    }

    /// Opens a sealed payload. `key_id` is the caller's `key_id` for it, if the protocol has one.
    ///
    /// # Cancel safety
    /// An unwrap that has begun continues, and its data key enters the cache.
    ///
    /// # Errors
    /// See [`EnvelopeError`]. Only authenticated payloads are returned.
    pub async fn decrypt(
        &self,
        purpose: Purpose,
        sealed: &[u8],
        key_id: Option<&str>,
        caller: impl Into<Caller>,
    ) -> Result<zeroize::Zeroizing<Vec<u8>>, EnvelopeError> {
        decrypt::open(&self.0, purpose, sealed, key_id, caller.into()).await
    }

    /// Changes the operator's settings while the envelope runs.
    pub fn set_policy(&self, policy: Policy) {
        let mut state = self.0.lock();
        state.cache.resize(policy.cache_capacity);
        state.policy = policy;
        state.want_listing(ListingWanted::Soon);
        drop(state);
        self.0.reconcile_wanted.notify_one();
    }

    /// Lists the versions again now, without waiting for the next probe.
    pub fn refresh(&self) {
        self.0.lock().want_listing(ListingWanted::Soon);
        self.0.reconcile_wanted.notify_one();
    }
}

impl Inner {
    pub(crate) fn lock(&self) -> MutexGuard<'_, EnvelopeState> {
        // A panic in a critical section costs one request. The state changes in single steps, so it stays consistent.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store(&self, number: usize) -> Result<&Store, EnvelopeError> {
        self.stores.get(number).ok_or(EnvelopeError::Stopped)
    }

    /// Makes a proven data key under a version of the first root key, and records the outcome for Status.
    async fn make_data_key(
        &self,
        id: &KeyId,
        purpose: Purpose,
        suite: Suite,
        waiters: &Waiters,
    ) -> Result<DataKey, Error> {
        let Some(store) = self.stores.first() else {
            return Err(Error::new(Kind::Refusal, "there is no root key"));
        };
        let now = self.clock.boottime();
        let making = DataKey::make(store.root_key.as_ref(), id, purpose, suite, now, waiters);
        let made = limited(making).await;
        self.note_wrap(id, made.as_ref().map(drop));
        let made = made?;
        self.observe(self.lock(), &Event::Verified { store: 0 });
        let labels = VersionLabels { key_id: id.to_string() };
        self.metrics.wraps.get_or_create(&labels).inc();
        self.metrics.unwraps.get_or_create(&labels).inc();
        self.lock().keep_own(purpose, &made, self.clock.boottime());
        Ok(made)
    }

    /// Records the outcome of a wrap under a version of the first store.
    fn note_wrap(&self, id: &KeyId, result: Result<(), &Error>) {
        let away = result.is_err_and(|error| error.kind() == Kind::Outage);
        let state = self.lock();
        if result.is_ok() || away && state.encrypts(id) {
            let succeeded = result.is_ok();
            self.observe(state, &Event::Wrapped { succeeded });
        } else {
            drop(state);
        }
        self.note(0, result);
    }

    /// Records the outcome of a call to a store: available or unavailable.
    fn note(&self, store: usize, result: Result<(), &Error>) {
        let mut state = self.lock();
        let result = match result {
            Err(error) if error.shows_a_working_root_key() => Ok(()),
            result => result,
        };
        if result.is_ok() && state.locations.error(store).is_some() {
            // The store may be back, or the answer came from memory: only a listing can tell.
            state.want_listing(ListingWanted::Soon);
            self.reconcile_wanted.notify_one();
        }
        match result {
            Ok(()) => self.observe(state, &Event::Answered { store }),
            Err(error) if store == 0 && error.kind() == Kind::Outage => self.observe(state, &Event::Unavailable(error)),
            Err(_) => None,
        };
    }

    /// Takes an event into the health, and acts on what it changes: the log has one line for each change.
    fn observe(&self, mut state: MutexGuard<'_, EnvelopeState>, event: &Event<'_>) -> Option<HealthChange> {
        let now = self.clock.boottime();
        let change = state.health.observe(event, now);
        if matches!(event, Event::Verified { .. }) && state.health.last_good() == Some(now) {
            self.metrics
                .last_good_call
                .set(i64::try_from(self.clock.now().unix()).unwrap_or(i64::MAX));
        }
        drop(state);
        let change = change?;
        match event {
            Event::Answered { .. } => tracing::info!("the root key is back"),
            Event::Unavailable(error) => {
                tracing::error!(
                    error = error.chain(),
                    "the root key is unavailable; dekhand continues with the data keys in memory"
                );
                self.reconcile_wanted.notify_one();
            }
            Event::Refused { id, error } => {
                tracing::error!(key_id = %id, error = error.chain(), "the root key refuses; encryption has stopped");
            }
            Event::Proven { id } => tracing::info!(key_id = %id, "the root key works again"),
            Event::Verified { .. } | Event::Wrapped { .. } | Event::Listed(_) | Event::ReadRefused { .. } => {}
        }
        if matches!(change, HealthChange::OutageBegan | HealthChange::OutageEnded) {
            // An outage suspends limits, so an Encrypt that waits may now continue.
            self.changed();
        }
        Some(change)
    }

    fn changed(&self) {
        self.changes.send_replace(());
    }
}

/// Ends a call to a root key after [`CALL_LIMIT`].
async fn limited<T>(call: impl Future<Output = Result<T, Error>>) -> Result<T, Error> {
    tokio::time::timeout(CALL_LIMIT, call).await.unwrap_or_else(|_| {
        let message = format!("the root key did not respond within {} s", CALL_LIMIT.as_secs());
        Err(Error::new(Kind::Outage, message))
    })
}

/// Sleeps for `duration`, or for ever if there is none.
async fn sleep_if(duration: Option<Duration>) {
    match duration {
        Some(duration) => tokio::time::sleep(duration).await,
        None => std::future::pending().await,
    }
}
