//! The task that talks to the root keys: lists versions, makes data keys and spares ahead of need, and probes.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use crate::backoff::Backoff;
use crate::crypto::derive::Purpose;
use crate::envelope::Inner;
use crate::envelope::primary::Choice;
use crate::envelope::standing::Standing;
use crate::envelope::state::Mark;
use crate::envelope::state::Primary;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::secret::Key;
use crate::telemetry::metrics::VersionLabels;

/// Between two listings that callers ask for.
const LISTING_GAP: Duration = Duration::from_millis(500);
/// The first wait after a failure.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest wait while something is not good.
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// Every tenth probe also wraps: some tokens keep 62 lines of audit and then stop, so calls are few.
const PROBES_PER_WRAP: u32 = 10;

/// Runs for ever.
pub(crate) async fn run(inner: &Inner) {
    let mut keeper = Keeper {
        inner,
        listed: None,
        refused: HashSet::new(),
        warned: HashSet::new(),
        probes: 0,
    };
    let mut retry = Backoff::new(FIRST_RETRY, LONGEST_RETRY);
    loop {
        let good = keeper.round().await;
        let pause = if good {
            retry.reset();
            keeper.until_due()
        } else {
            retry.wait()
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = keeper.asked(good) => {}
        }
    }
}

struct Keeper<'a> {
    inner: &'a Inner,
    /// When the stores were listed last.
    listed: Option<Duration>,
    /// Versions above the primary that were refused since the last listing: they are tried again with the next one.
    refused: HashSet<KeyId>,
    /// Those of which the log has heard.
    warned: HashSet<KeyId>,
    probes: u32,
}

impl Keeper<'_> {
    /// Does what is due. Says whether all is good.
    async fn round(&mut self) -> bool {
        if self.listing_is_due() {
            self.list().await;
        }
        let made = self.make_data_keys().await;
        let probed = match made {
            Ok(()) => self.probe_if_due().await,
            Err(NotGood) => false,
        };
        let state = self.inner.lock();
        let present = matches!(state.primary, Primary::Present(_));
        made.is_ok() && probed && present && state.truth.is_good()
    }

    fn listing_is_due(&self) -> bool {
        let now = self.inner.clock.boottime();
        let state = self.inner.lock();
        let interval = if state.truth.is_good() {
            state.policy.probe_interval
        } else {
            Duration::ZERO
        };
        let absent = matches!(state.primary, Primary::Absent(_));
        state.listing_wanted || absent || self.listed.is_none_or(|listed| now.saturating_sub(listed) >= interval)
    }

    /// Lists every store, and reads the mark while there is no primary.
    async fn list(&mut self) {
        let inner = self.inner;
        inner.lock().listing_wanted = false;
        for (number, store) in inner.stores.iter().enumerate() {
            let listed = store.root_key.discover().await;
            let now = inner.clock.boottime();
            let mut state = inner.lock();
            let was_away = state.stores.get(number).is_some_and(|listing| listing.error.is_some());
            match &listed {
                Ok(_) if was_away => tracing::info!(root_key = %store.name, "the versions can be listed again"),
                Err(error) if !was_away => {
                    tracing::error!(root_key = %store.name, error = error.chain(), "the versions can't be listed");
                }
                Ok(_) | Err(_) => {}
            }
            state.take_listing(number, listed, now);
            inner
                .metrics
                .cached_data_keys
                .set(i64::try_from(state.cache.len()).unwrap_or(i64::MAX));
        }
        self.listed = Some(inner.clock.boottime());
        self.refused.clear();
        self.read_mark().await;
        inner.switch_wanted.notify_one();
        inner.changed();
    }

    /// Reads the highest reported version: at the start, and while it blocks, since `keys accept-loss` removes it.
    async fn read_mark(&self) {
        let inner = self.inner;
        if matches!(inner.lock().primary, Primary::Present(_)) {
            return;
        }
        let Some(name) = inner.stores.first().map(|store| store.name.clone()) else {
            return;
        };
        let file = inner.high_water.clone();
        let read = inner.files.run(move || file.read(&name)).await;
        let mut state = inner.lock();
        // The switch may have written a newer one meanwhile.
        if matches!(state.primary, Primary::Present(_)) {
            return;
        }
        let refusal = match read {
            Ok(Ok(mark)) => {
                state.mark = Mark::Read(mark);
                return;
            }
            Ok(Err(error)) => Error::new(Kind::Refusal, "the state directory can't be read").because(error),
            Err(stopped) => Error::new(Kind::Refusal, "the state directory can't be read").because(stopped),
        };
        state.mark = Mark::Unread;
        if state.truth.note_refusal(&refusal) {
            tracing::error!(error = refusal.chain(), "no version may encrypt before this is mended");
        }
    }

    /// Makes the data keys and spares that are missing, those of the highest version first.
    async fn make_data_keys(&mut self) -> Result<(), NotGood> {
        let inner = self.inner;
        let needed = {
            let state = inner.lock();
            let Some(candidates) = state.candidates(inner.clock.now()) else {
                return Err(NotGood);
            };
            candidates.need_data_keys()
        };
        for version in needed {
            for &purpose in &inner.purposes {
                let Some(suite) = self.wanted_suite(&version.id, purpose) else {
                    continue;
                };
                match inner.make_data_key(&version.id, purpose, suite).await {
                    Ok(made) => self.take(&version.id, purpose, Arc::new(made)),
                    Err(error) => self.note_failure(&version.id, &error)?,
                }
            }
        }
        Ok(())
    }

    /// The suite of the data key to make now; `None` if none is missing.
    fn wanted_suite(&self, id: &KeyId, purpose: Purpose) -> Option<crate::crypto::suite::Suite> {
        if self.refused.contains(id) {
            return None;
        }
        let now = self.inner.clock.boottime();
        let state = self.inner.lock();
        let missing = match state.standing.get(&(id.clone(), purpose)) {
            None => true,
            Some(standing) => standing.wants_spare(&state.policy, now) || state.truth.is_refusal(),
        };
        missing.then_some(state.policy.suite)
    }

    /// Puts a proven data key to work: as the first, as the spare, or in place of one that is in doubt.
    fn take(&mut self, id: &KeyId, purpose: Purpose, made: Arc<crate::envelope::data_key::DataKey>) {
        let inner = self.inner;
        let mut state = inner.lock();
        let doubted = state.truth.is_refusal();
        match state.standing.get_mut(&(id.clone(), purpose)) {
            None => {
                state.standing.insert((id.clone(), purpose), Standing::new(made));
            }
            Some(standing) if doubted => standing.replace(made),
            Some(standing) => standing.put_spare(made),
        }
        self.warned.remove(id);
        if self.should_encrypt(&state, id) && state.truth.end_refusal() {
            tracing::info!(key_id = %id, "the root key works again");
        }
        drop(state);
        inner.switch_wanted.notify_one();
        inner.changed();
    }

    /// A refusal counts against Status only if it is of the version that encrypts, or of the one that should while
    /// none does. A version above that is refused is not switched to, and does no harm.
    fn note_failure(&mut self, id: &KeyId, error: &Error) -> Result<(), NotGood> {
        if error.kind() == Kind::Outage {
            return Err(NotGood);
        }
        let mut state = self.inner.lock();
        if self.should_encrypt(&state, id) {
            if state.truth.note_refusal(error) {
                tracing::error!(key_id = %id, error = error.chain(), "the root key refuses; nothing is encrypted");
            }
            return Err(NotGood);
        }
        drop(state);
        self.refused.insert(id.clone());
        if self.warned.insert(id.clone()) {
            tracing::warn!(key_id = %id, error = error.chain(), "this version is refused; it will not encrypt here");
        }
        Ok(())
    }

    fn should_encrypt(&self, state: &crate::envelope::state::State, id: &KeyId) -> bool {
        match &state.primary {
            Primary::Present(version) => version.id == *id,
            Primary::Absent(_) => {
                let candidates = state.candidates(self.inner.clock.now());
                matches!(candidates.map(|candidates| candidates.choose(|_| true)),
                    Some(Choice::Primary(version)) if version.id == *id)
            }
        }
    }

    /// Unwraps a kept data key if no call has shown the root key good for an interval. Says whether all is good.
    async fn probe_if_due(&mut self) -> bool {
        let inner = self.inner;
        let now = inner.clock.boottime();
        let (data_key, version) = {
            let state = inner.lock();
            let Primary::Present(version) = &state.primary else {
                return true;
            };
            let age = state.truth.last_good().map(|last| now.saturating_sub(last));
            let due = !state.truth.is_good() || age.is_none_or(|age| age >= state.policy.probe_interval);
            // A store that lists nothing is away; what its memory still unwraps proves nothing.
            if !due || state.stores.first().is_some_and(|listing| listing.error.is_some()) {
                return !due;
            }
            let standing = inner
                .purposes
                .iter()
                .find_map(|purpose| state.standing.get(&(version.id.clone(), *purpose)));
            let Some(standing) = standing else {
                return false;
            };
            (standing.live().clone(), version.id.clone())
        };
        let Some(store) = inner.stores.first() else {
            return false;
        };
        let labels = VersionLabels {
            key_id: version.to_string(),
        };
        inner.metrics.unwraps.get_or_create(&labels).inc();
        let mut result = data_key.probe(store.root_key.as_ref()).await;
        self.probes += 1;
        if result.is_ok() && self.probes.is_multiple_of(PROBES_PER_WRAP) {
            inner.metrics.wraps.get_or_create(&labels).inc();
            result = try_wrap(store.root_key.as_ref(), &version).await;
        }
        inner.note(0, result.as_ref().map(drop));
        match result {
            Ok(()) => true,
            Err(error) => self.note_failure(&version, &error).is_ok(),
        }
    }

    /// How long until something is due by itself.
    fn until_due(&self) -> Duration {
        let inner = self.inner;
        let now = inner.clock.boottime();
        let state = inner.lock();
        let interval = state.policy.probe_interval;
        let listing = self.listed.map_or(now, |listed| listed.saturating_add(interval));
        let probe = state
            .truth
            .last_good()
            .map_or(now, |last| last.saturating_add(interval));
        let standing = state.standing.iter().filter(|((id, _), _)| !self.refused.contains(id));
        let spare = standing
            .filter_map(|(_, standing)| standing.spare_due(&state.policy))
            .min();
        let next = listing.min(probe).min(spare.unwrap_or(Duration::MAX));
        next.saturating_sub(now)
    }

    /// Returns when somebody needs the keeper. While something fails, only a new listing is worth leaving the backoff
    /// for: every Encrypt asks for a spare then, and must not become a call to a token that is away.
    async fn asked(&self, good: bool) {
        loop {
            self.inner.keeper_wanted.notified().await;
            if self.inner.lock().listing_wanted {
                let since = self
                    .listed
                    .map(|listed| self.inner.clock.boottime().saturating_sub(listed));
                tokio::time::sleep(since.map_or(Duration::ZERO, |since| LISTING_GAP.saturating_sub(since))).await;
                return;
            }
            if good {
                return;
            }
        }
    }
}

/// Something is missing or failing; the next round comes soon.
#[derive(Clone, Copy, Debug)]
struct NotGood;

async fn try_wrap(root_key: &dyn crate::root_key::RootKey, id: &KeyId) -> Result<(), Error> {
    let key = Key::random().map_err(|error| Error::new(Kind::Outage, "cannot try a wrap").because(error))?;
    root_key.wrap(id, &key).await.map(drop)
}
