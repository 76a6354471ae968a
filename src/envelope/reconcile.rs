//! The task that calls the root keys: it lists versions, makes the current and the next data keys in advance, and probes.

mod list;
mod probe;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::crypto::derive::Purpose;
use crate::crypto::suite::Suite;
use crate::envelope::Inner;
use crate::envelope::data_key::DataKey;
use crate::envelope::reconcile::list::Which;
use crate::envelope::rollover::KeyRollover;
use crate::envelope::sleep_if;
use crate::envelope::state::EnvelopeState;
use crate::envelope::state::Primary;
use crate::envelope::store_health::Event;
use crate::root_key::error::Error;
use crate::root_key::error::Reaction;
use crate::root_key::id::KeyId;
use crate::root_key::primary::Choice;
use crate::root_key::waiters::Waiters;

/// The shortest pause between two listings, unless the next one is due by the probe interval.
const LISTING_GAP: Duration = Duration::from_millis(500);
/// After a listing, listings for a `Decrypt` skip the store for this many times as long as the listing took. So ids in
/// etcd that are in no store cost a token at most a tenth of its time.
const LISTING_REST: u32 = 10;
/// The first wait after a failure.
const FIRST_RETRY: Duration = Duration::from_millis(100);
/// The longest wait while something fails.
const LONGEST_RETRY: Duration = Duration::from_secs(10);
/// Every tenth probe also wraps. Not every probe: some tokens stop when their audit log has 62 entries.
const PROBES_PER_WRAP: u32 = 10;

/// Never returns.
pub(crate) async fn run(inner: &Inner) {
    let mut reconciler = Reconciler {
        inner,
        listed: None,
        listing_ended: None,
        rests: vec![Duration::ZERO; inner.stores.len()],
        refused: HashSet::new(),
        warned: HashSet::new(),
        probes: 0,
    };
    let mut retry = Backoff::new(FIRST_RETRY, LONGEST_RETRY).drawn_by(&inner.clock);
    loop {
        let good = reconciler.round().await;
        let pause = if good {
            retry.reset();
            reconciler.until_due()
        } else {
            retry.wait()
        };
        reconciler.rest(pause, good).await;
    }
}

struct Reconciler<'a> {
    inner: &'a Inner,
    /// When the last listing of all stores ended.
    listed: Option<Duration>,
    /// When the last listing of any store ended.
    listing_ended: Option<Duration>,
    /// Until when listings for a `Decrypt` skip each store.
    rests: Vec<Duration>,
    /// Versions above the primary that were refused since the last listing: they are tried again after the next one.
    refused: HashSet<KeyId>,
    /// Refused versions for which a warning was logged.
    warned: HashSet<KeyId>,
    probes: u32,
}

impl Reconciler<'_> {
    /// Does the work that is due. Returns whether everything is well.
    async fn round(&mut self) -> bool {
        if let Some(which) = self.listing_due() {
            self.list(which).await;
        }
        let made = self.make_data_keys().await;
        let probed = match made {
            Ok(()) => self.probe_if_due().await,
            Err(NotGood) => false,
        };
        let state = self.inner.lock();
        made.is_ok() && probed && state.has_primary() && state.health.is_good()
    }

    /// Makes missing data keys, current and next, those of the highest version first.
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
                match inner
                    .make_data_key(&version.id, purpose, suite, &Waiters::of_daemon())
                    .await
                {
                    Ok(made) => self.take(&version.id, purpose, Arc::new(made)),
                    Err(error) => self.note_failure(&version.id, &error)?,
                }
            }
        }
        Ok(())
    }

    /// The suite of the data key to make now; `None` if none is missing.
    fn wanted_suite(&self, id: &KeyId, purpose: Purpose) -> Option<Suite> {
        if self.refused.contains(id) {
            return None;
        }
        let now = self.inner.clock.boottime();
        let mut state = self.inner.lock();
        let doubted = state.health.is_refusal();
        let EnvelopeState { policy, rollovers, .. } = &mut *state;
        let missing = rollovers.get_mut(&(id.clone(), purpose)).is_none_or(|rollover| {
            rollover.take_turns(policy, now);
            rollover.wants_next(policy, now) || doubted
        });
        missing.then_some(policy.suite)
    }

    /// Installs a proven data key: as the first, as the next one, or, after a refusal, in place of the current one.
    fn take(&mut self, id: &KeyId, purpose: Purpose, made: Arc<DataKey>) {
        let inner = self.inner;
        let mut state = inner.lock();
        let doubted = state.health.is_refusal();
        match state.rollovers.get_mut(&(id.clone(), purpose)) {
            None => {
                state.rollovers.insert((id.clone(), purpose), KeyRollover::new(made));
            }
            Some(rollover) if doubted => rollover.replace(made),
            Some(rollover) => rollover.put_next(made),
        }
        self.warned.remove(id);
        if self.should_encrypt(&state, id) {
            inner.observe(state, &Event::Proven { id });
        } else {
            drop(state);
        }
        inner.switch_wanted.notify_one();
        inner.changed();
    }

    /// A refusal makes Status fail only if it is of the version that encrypts, or of the one that should while none
    /// does. A higher version that is refused does no harm: the node does not switch to it. If `promotion` is recording
    /// that version now, it applies its rules again after the write.
    fn note_failure(&mut self, id: &KeyId, error: &Error) -> Result<(), NotGood> {
        if error.reaction() == Reaction::Reconnect {
            return Err(NotGood);
        }
        let mut state = self.inner.lock();
        if self.should_encrypt(&state, id) {
            self.inner.observe(state, &Event::Refused { id, error });
            return Err(NotGood);
        }
        // With older data keys the switch could choose this version, and could not replace them when they are spent.
        state.rollovers.retain(|(of, _), _| of != id);
        drop(state);
        self.inner.switch_wanted.notify_one();
        self.refused.insert(id.clone());
        if self.warned.insert(id.clone()) {
            tracing::warn!(key_id = %id, error = error.chain(), "this version is refused; it will not encrypt here");
        }
        Ok(())
    }

    fn should_encrypt(&self, state: &EnvelopeState, id: &KeyId) -> bool {
        match &state.primary {
            Primary::Present(version) => version.id == *id,
            Primary::Absent(_) => {
                let candidates = state.candidates(self.inner.clock.now());
                matches!(candidates.map(|candidates| candidates.choose(|_| true)),
                    Some(Choice::Primary(version)) if version.id == *id)
            }
        }
    }

    /// The time until the next listing, probe or data key is due.
    fn until_due(&self) -> Duration {
        let inner = self.inner;
        let now = inner.clock.boottime();
        let state = inner.lock();
        let interval = state.policy.probe_interval;
        let listing = self.listed.map_or(now, |listed| listed.saturating_add(interval));
        let probe = state
            .health
            .last_good()
            .map_or(now, |last| last.saturating_add(interval));
        let rollover = state.rollovers.iter().filter(|((id, _), _)| !self.refused.contains(id));
        let turn = rollover.map(|(_, rollover)| rollover.due(&state.policy)).min();
        let next = listing.min(probe).min(turn.unwrap_or(Duration::MAX));
        next.saturating_sub(now)
    }

    /// Waits until something is due or a caller needs the reconciler. While something fails, neither an Encrypt that
    /// needs a data key nor a Decrypt of an unknown version may shorten the wait: they would become calls to a root key
    /// that is unavailable. For such a Decrypt only the versions are listed, and the wait continues.
    async fn rest(&mut self, pause: Duration, good: bool) {
        let inner = self.inner;
        let until = Instant::now() + pause;
        let had_none = !inner.lock().has_primary();
        loop {
            let listing = self.until_listing(&inner.lock());
            // In a fixed order, so that a simulation can be repeated.
            let may_list = tokio::select! {
                biased;
                () = tokio::time::sleep_until(until) => return,
                () = inner.reconcile_wanted.notified() => false,
                () = sleep_if(listing) => true,
            };
            // The missing primary may have been the only fault.
            if good || had_none && inner.lock().has_primary() {
                return;
            }
            if !may_list {
                continue;
            }
            let (was_unlisted, which) = {
                let state = inner.lock();
                (state.locations.error(0).is_some(), Which::of(state.listing))
            };
            self.list(which).await;
            if was_unlisted && inner.lock().locations.error(0).is_none() {
                // The store can be listed again: a call that proves the root key works is due now.
                return;
            }
        }
    }
}

/// Something is missing or fails: the next round follows soon.
#[derive(Clone, Copy, Debug)]
struct NotGood;
