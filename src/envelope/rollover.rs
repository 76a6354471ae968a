//! The live data key of one version, and the spare that replaces it without making an `Encrypt` wait.

use std::sync::Arc;
use std::time::Duration;

use crate::envelope::data_key::DataKey;
use crate::envelope::data_key::Spent;
use crate::envelope::policy::Policy;

/// The data keys of one version and one purpose.
#[derive(Debug)]
pub(crate) struct KeyRollover {
    live: Arc<DataKey>,
    spare: Option<Arc<DataKey>>,
}

impl KeyRollover {
    pub(crate) fn new(live: Arc<DataKey>) -> Self {
        Self { live, spare: None }
    }

    /// The key that seals the next payload.
    pub(crate) fn live(&self) -> &Arc<DataKey> {
        &self.live
    }

    /// Replaces the live key by the spare when the live key is spent or has another suite. The reconciler calls this
    /// too, so that on a node without Encrypts neither key exceeds its age limit.
    pub(crate) fn take_turns(&mut self, policy: &Policy, now: Duration) {
        let spent = matches!(self.live.spent(policy, now), Spent::Soft | Spent::Hard);
        if let Some(spare) = self.spare.take_if(|_| spent || self.live.suite != policy.suite) {
            self.live = spare;
        }
    }

    /// Takes a key for one payload; `None` while the next key is being made. If `suspended`, soft limits do not apply.
    pub(crate) fn take(&mut self, policy: &Policy, now: Duration, suspended: bool) -> Option<Arc<DataKey>> {
        self.take_turns(policy, now);
        match self.live.spent(policy, now) {
            Spent::Hard => None,
            Spent::Soft if !suspended => None,
            Spent::No | Spent::Half | Spent::Soft => {
                self.live.use_once();
                Some(self.live.clone())
            }
        }
    }

    /// Whether the live key has sealed 2^32 payloads and there is no spare.
    pub(crate) fn is_used_up(&self, policy: &Policy, now: Duration) -> bool {
        self.spare.is_none() && self.live.spent(policy, now) == Spent::Hard
    }

    /// Whether the spare is due: at half of each limit, so that an outage does not begin with a nearly spent key.
    pub(crate) fn wants_spare(&self, policy: &Policy, now: Duration) -> bool {
        let due = self.live.spent(policy, now) != Spent::No || self.live.suite != policy.suite;
        due && self.spare.is_none()
    }

    /// When a spare must be made or put in place because of age alone.
    pub(crate) fn due(&self, policy: &Policy) -> Duration {
        let age = if self.spare.is_none() {
            policy.max_age / 2
        } else {
            policy.max_age
        };
        self.live.born.saturating_add(age)
    }

    pub(crate) fn put_spare(&mut self, spare: Arc<DataKey>) {
        self.spare = Some(spare);
    }

    /// Seals under `live` from now on, and drops both former keys.
    pub(crate) fn replace(&mut self, live: Arc<DataKey>) {
        *self = Self::new(live);
    }
}
