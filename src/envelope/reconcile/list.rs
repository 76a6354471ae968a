//! The reconciler lists the versions of every store, and reads the version that this node has reported.

use std::time::Duration;

use super::LISTING_GAP;
use super::LISTING_REST;
use super::Reconciler;
use crate::envelope::Store;
use crate::envelope::error::EnvelopeError;
use crate::envelope::limited;
use crate::envelope::state::EnvelopeState;
use crate::envelope::state::HighWaterRead;
use crate::envelope::state::ListingWanted;
use crate::root_key::error::Error;
use crate::root_key::version::Version;
use crate::telemetry::log::chain;

/// The stores to list.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// All of them.
    All,
    /// The stores whose pause ([`LISTING_REST`]) is over.
    Rested,
}

impl Which {
    pub(super) fn of(wanted: ListingWanted) -> Self {
        match wanted {
            ListingWanted::ByDecrypt => Self::Rested,
            ListingWanted::No | ListingWanted::Soon => Self::All,
        }
    }
}

impl Reconciler<'_> {
    pub(super) fn listing_due(&self) -> Option<Which> {
        let now = self.inner.clock.boottime();
        let state = self.inner.lock();
        let interval = if state.health.is_good() {
            state.policy.probe_interval
        } else {
            Duration::ZERO
        };
        if !state.has_primary() || self.listed.is_none_or(|listed| now.saturating_sub(listed) >= interval) {
            return Some(Which::All);
        }
        (self.until_listing(&state) == Some(Duration::ZERO)).then(|| Which::of(state.listing))
    }

    /// The time until a wanted listing may begin; `None` if none is wanted.
    pub(super) fn until_listing(&self, state: &EnvelopeState) -> Option<Duration> {
        let now = self.inner.clock.boottime();
        let due = self
            .listing_ended
            .map_or(now, |ended| ended.saturating_add(LISTING_GAP));
        let due = match state.listing {
            ListingWanted::No => return None,
            ListingWanted::ByDecrypt => due.max(self.rests.iter().min().copied()?),
            ListingWanted::Soon => due,
        };
        Some(due.saturating_sub(now))
    }

    /// Lists stores, and reads the high-water mark while there is no primary.
    pub(super) async fn list(&mut self, which: Which) {
        let inner = self.inner;
        inner.lock().listing = ListingWanted::No;
        let begun = inner.clock.boottime();
        let rests = self.rests.clone();
        let mut lists_first = false;
        for ((number, store), rest) in inner.stores.iter().enumerate().zip(rests) {
            if which == Which::Rested && rest > begun {
                continue;
            }
            let begun = inner.clock.boottime();
            let listed = limited(store.root_key.discover()).await;
            self.take_listing(number, store, listed);
            let ended = inner.clock.boottime();
            if let Some(rest) = self.rests.get_mut(number) {
                *rest = ended.saturating_add(ended.saturating_sub(begun).saturating_mul(LISTING_REST));
            }
            lists_first |= number == 0;
            if number == 0 && inner.stores.len() > 1 && !inner.lock().has_primary() {
                self.begin_with_the_first().await;
            }
        }
        let ended = inner.clock.boottime();
        self.listing_ended = Some(ended);
        if which == Which::All {
            self.listed = Some(ended);
        }
        if lists_first {
            self.refused.clear();
        }
        self.read_high_water().await;
        inner.switch_wanted.notify_one();
        inner.changed();
    }

    fn take_listing(&self, number: usize, store: &Store, listed: Result<Vec<Version>, Error>) {
        let inner = self.inner;
        let now = inner.clock.boottime();
        let mut state = inner.lock();
        let was_away = state.locations.error(number).is_some();
        match &listed {
            Ok(_) if was_away => tracing::info!(root_key = %store.name, "the versions can be listed again"),
            Err(error) if !was_away => {
                tracing::error!(root_key = %store.name, error = error.chain(), "the versions cannot be listed");
            }
            Ok(_) | Err(_) => {}
        }
        state.take_listing(number, listed, now);
        inner
            .metrics
            .cached_data_keys
            .set(i64::try_from(state.cache.len()).unwrap_or(i64::MAX));
        drop(state);
        if number == 0 {
            // The primary may have left this store, and the listing of the next store may take long.
            inner.switch_wanted.notify_one();
        }
    }

    /// Makes the data keys of the first store before the other stores are listed: only the first store encrypts, and a
    /// later one that hangs must not delay it.
    async fn begin_with_the_first(&mut self) {
        self.read_high_water().await;
        // A failure here is repeated and handled later in this round.
        if self.make_data_keys().await.is_ok() {
            self.inner.switch_wanted.notify_one();
        }
    }

    /// Reads the highest reported version: at the start, and while there is no primary, since `keys accept-loss` may
    /// have removed it.
    async fn read_high_water(&self) {
        let inner = self.inner;
        if inner.lock().has_primary() {
            return;
        }
        let Some(name) = inner.stores.first().map(|store| store.name.clone()) else {
            return;
        };
        let file = inner.high_water.clone();
        let read = inner.files.run(move || file.read(&name)).await;
        let mut state = inner.lock();
        // `promotion` may have written a newer one meanwhile.
        if state.has_primary() {
            return;
        }
        let reason = match read {
            Ok(Ok(read)) => {
                // A version that was written ahead but not reported is not the high-water mark.
                let is_ahead = read.is_some() && read == state.written_ahead;
                if !is_ahead || state.high_water == HighWaterRead::Unread {
                    state.high_water = HighWaterRead::Read(read);
                }
                return;
            }
            Ok(Err(error)) => chain(&error),
            Err(no_answer) => chain(&no_answer),
        };
        state.high_water = HighWaterRead::Unread;
        let refusal = EnvelopeError::Refused(format!(
            "the version that this node reported last cannot be read: {reason}"
        ));
        if state.set_absent(refusal) {
            tracing::error!(
                error = reason,
                "nothing is encrypted until the file `primary` can be read"
            );
        }
    }
}
