//! The reconciler probes the root key when no answer to another call was verified within the probe interval.

use super::PROBES_PER_WRAP;
use super::Reconciler;
use crate::envelope::limited;
use crate::envelope::state::Primary;
use crate::envelope::store_health::Event;
use crate::root_key::RootKey;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::waiters::Waiters;
use crate::secret::Key;
use crate::telemetry::metrics::VersionLabels;

impl Reconciler<'_> {
    /// Unwraps a kept data key if no answer was verified within the probe interval. Returns whether everything is well.
    pub(super) async fn probe_if_due(&mut self) -> bool {
        let inner = self.inner;
        let now = inner.clock.boottime();
        let (data_key, version, wants_wrap) = {
            let state = inner.lock();
            // While none encrypts, the version that waits for its date is probed: the switch to it calls no root key.
            let probed = match &state.primary {
                Primary::Present(version) => Some(version.clone()),
                Primary::Absent(_) => state
                    .candidates(inner.clock.now())
                    .and_then(|candidates| candidates.in_line(|id| state.has_data_keys(id, &inner.purposes))),
            };
            let Some(version) = probed else {
                return true;
            };
            let age = state.health.last_good().map(|last| now.saturating_sub(last));
            let due = !state.health.is_good() || age.is_none_or(|age| age >= state.policy.probe_interval);
            // A store that cannot be listed counts as unavailable. An unwrap from its memory would prove nothing.
            if !due || state.locations.error(0).is_some() {
                return !due;
            }
            let rollover = inner
                .purposes
                .iter()
                .find_map(|purpose| state.rollovers.get(&(version.id.clone(), *purpose)));
            let Some(rollover) = rollover else {
                return false;
            };
            (rollover.current().clone(), version.id, state.health.wants_wrap())
        };
        let Some(store) = inner.stores.first() else {
            return false;
        };
        let labels = VersionLabels {
            key_id: version.to_string(),
        };
        inner.metrics.unwraps.get_or_create(&labels).inc();
        let mut result = limited(data_key.probe(store.root_key.as_ref())).await;
        inner.note(0, result.as_ref().map(drop));
        self.probes += 1;
        if result.is_ok() && (wants_wrap || self.probes.is_multiple_of(PROBES_PER_WRAP)) {
            inner.metrics.wraps.get_or_create(&labels).inc();
            result = limited(try_wrap(store.root_key.as_ref(), &version)).await;
            inner.note_wrap(&version, result.as_ref().map(drop));
        }
        match result {
            Ok(()) => {
                inner.observe(inner.lock(), &Event::Verified { store: 0 });
                true
            }
            Err(error) => self.note_failure(&version, &error).is_ok(),
        }
    }
}

async fn try_wrap(root_key: &dyn RootKey, id: &KeyId) -> Result<(), Error> {
    let key = Key::random().map_err(|error| Error::new(Kind::Outage, "cannot try a wrap").because(error))?;
    root_key.wrap(id, &key, &Waiters::of_daemon()).await.map(drop)
}
