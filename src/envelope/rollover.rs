//! The current data key of one version, and the next one, which replaces it without making an `Encrypt` wait.

use std::sync::Arc;
use std::time::Duration;

use crate::envelope::data_key::DataKey;
use crate::envelope::data_key::Spent;
use crate::envelope::policy::Policy;

/// The data keys of one version and one purpose.
#[derive(Debug)]
pub(crate) struct KeyRollover {
    current: Arc<DataKey>,
    next: Option<Arc<DataKey>>,
}

/// The data key for one payload.
#[derive(Debug)]
pub(crate) struct Taken {
    /// `None` while the next key is being made.
    pub(crate) key: Option<Arc<DataKey>>,
    /// Whether the next key should be made now.
    pub(crate) next_is_due: bool,
}

impl KeyRollover {
    pub(crate) fn new(current: Arc<DataKey>) -> Self {
        Self { current, next: None }
    }

    /// The key that seals the next payload.
    pub(crate) fn current(&self) -> &Arc<DataKey> {
        &self.current
    }

    /// Puts the next key in place when the current one is spent or has another suite. Returns how far the resulting
    /// current key is spent. The reconciler calls this too, so that on a node without Encrypts neither key
    /// exceeds its age limit.
    pub(crate) fn take_turns(&mut self, policy: &Policy, now: Duration) -> Spent {
        let spent = self.current.spent(policy, now);
        let is_over = matches!(spent, Spent::Soft | Spent::Hard) || self.current.suite != policy.suite;
        match self.next.take_if(|_| is_over) {
            Some(next) => {
                self.current = next;
                self.current.spent(policy, now)
            }
            None => spent,
        }
    }

    /// Takes a key for one payload of `length` bytes. If `suspended`, soft limits do not apply.
    pub(crate) fn take(&mut self, length: usize, policy: &Policy, now: Duration, suspended: bool) -> Taken {
        self.current.end_unless_room(length);
        let is_usable = match self.take_turns(policy, now) {
            Spent::No | Spent::Half => true,
            Spent::Soft => suspended,
            Spent::Hard => false,
        };
        let key = is_usable.then(|| self.current.clone());
        if let Some(key) = &key {
            key.use_once(length);
        }
        // This use may be the one that reaches half of the limit.
        Taken {
            next_is_due: self.wants_next(policy, now),
            key,
        }
    }

    /// Whether the current key has sealed 2^32 payloads or 64 GiB, and there is no next one.
    pub(crate) fn is_used_up(&self, policy: &Policy, now: Duration) -> bool {
        self.next.is_none() && self.current.spent(policy, now) == Spent::Hard
    }

    /// Whether the next key is due: at half of each limit, so that an outage does not begin with a nearly spent key.
    pub(crate) fn wants_next(&self, policy: &Policy, now: Duration) -> bool {
        self.next.is_none() && (self.current.spent(policy, now) != Spent::No || self.current.suite != policy.suite)
    }

    /// When the next key must be made or put in place because of age alone.
    pub(crate) fn due(&self, policy: &Policy) -> Duration {
        let age = if self.next.is_none() {
            policy.max_age / 2
        } else {
            policy.max_age
        };
        self.current.born.saturating_add(age)
    }

    pub(crate) fn put_next(&mut self, next: Arc<DataKey>) {
        self.next = Some(next);
    }

    /// Seals under this key from now on, and drops both former keys.
    pub(crate) fn replace(&mut self, current: Arc<DataKey>) {
        *self = Self::new(current);
    }
}
