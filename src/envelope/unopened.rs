//! What is remembered of payloads that do not open although their wrapped key is good.
//!
//! A payload with a changed body, one of another door, one with a changed suite byte and one with a changed commitment each
//! carry a wrapped key that the root key unwraps. kube-apiserver asks again and again for a value that it can't read, and each time would cost a call.
//! So for a minute the unwrapped data key is remembered by its wrapped key, and the payload by its digest. The data key
//! seals nothing, and enters the cache only when a payload opens under it. Nothing is refused from here before the root
//! key has unwrapped the same data key twice: a token that once returned a wrong key must not cost a good payload a
//! minute.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use sha2::Digest as _;
use sha2::Sha256;

use crate::crypto::derive::Purpose;
use crate::envelope::Inner;
use crate::envelope::cache::BAD_FOR;
use crate::envelope::sealed_format::Sealed;
use crate::root_key::id::KeyId;
use crate::secret::Key;

/// So many data keys are remembered.
const MOST_KEYS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// So many payloads are.
const MOST_PAYLOADS: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// Names a wrapped key, whatever stands around it: purpose, suite and commitment are no part of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct WrapName {
    id: KeyId,
    mechanism: u8,
    wrap: Box<[u8]>,
}

impl WrapName {
    pub(crate) fn of(sealed: &Sealed<'_>) -> Self {
        Self {
            id: sealed.id.clone(),
            mechanism: sealed.mechanism.number(),
            wrap: sealed.wrap.into(),
        }
    }
}

/// Names a payload, every byte of it, and the purpose for which it should open.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PayloadName(Purpose, [u8; 32]);

impl PayloadName {
    pub(crate) fn of(purpose: Purpose, payload: &[u8]) -> Self {
        Self(purpose, Sha256::digest(payload).into())
    }
}

/// A data key under which no payload has opened yet.
#[derive(Clone, Debug)]
pub(crate) struct Unproven {
    /// `None` where the configuration keeps no data keys.
    pub(crate) key: Option<Arc<Key>>,
    /// Whether the root key has unwrapped it twice: what does not open under it is bad.
    pub(crate) is_confirmed: bool,
    /// Tells whether another unwrap gave the same key.
    digest: [u8; 32],
    since: Duration,
}

/// How often the data keys whose minute is over are wiped.
const WIPE_EVERY: Duration = Duration::from_secs(10);

/// Wipes them, for ever: nobody may ask for them again.
pub(crate) async fn wipe(inner: &Inner) {
    loop {
        tokio::time::sleep(WIPE_EVERY).await;
        let now = inner.clock.boottime();
        inner.lock().unopened.retain(now, |_| true);
    }
}

/// The memory of both. They have places of their own, and take none from proven data keys and bad wrapped keys.
#[derive(Debug)]
pub(crate) struct Unopened {
    keys: LruCache<WrapName, Unproven>,
    payloads: LruCache<PayloadName, Duration>,
}

impl Default for Unopened {
    fn default() -> Self {
        Self {
            keys: LruCache::sparse(MOST_KEYS),
            payloads: LruCache::sparse(MOST_PAYLOADS),
        }
    }
}

impl Unopened {
    /// The data key of a wrapped key, if it was unwrapped a short while ago and nothing has opened under it.
    pub(crate) fn key(&mut self, wrap: &WrapName, now: Duration) -> Option<Unproven> {
        self.keys
            .get(wrap)
            .filter(|unproven| is_fresh(unproven.since, now))
            .cloned()
    }

    /// The root key has unwrapped a data key, and the payload that asked for it did not open. `keeps` says whether the
    /// configuration keeps data keys.
    pub(crate) fn note_key(&mut self, wrap: WrapName, key: Key, keeps: bool, now: Duration) {
        let digest = Sha256::new()
            .chain_update(b"dekhand/unproven")
            .chain_update(key.expose());
        let digest = digest.finalize().into();
        let before = self.key(&wrap, now);
        let unproven = Unproven {
            key: keeps.then(|| Arc::new(key)),
            is_confirmed: before.is_some_and(|before| before.digest == digest),
            digest,
            since: now,
        };
        self.keys.put(wrap, unproven);
    }

    /// A payload has opened under this wrapped key.
    pub(crate) fn forget_key(&mut self, wrap: &WrapName) {
        self.keys.pop(wrap);
    }

    /// A payload did not open under the data key of this wrapped key.
    pub(crate) fn note_payload(&mut self, payload: PayloadName, wrap: &WrapName, now: Duration) {
        let is_bad = self.key(wrap, now).is_some_and(|unproven| unproven.is_confirmed);
        if is_bad && !self.is_bad(&payload, now, false) {
            self.payloads.put(payload, now);
        }
    }

    /// Whether a payload was proven bad: a short while ago, or ever if its store is `away` and can't be asked again.
    pub(crate) fn is_bad(&self, payload: &PayloadName, now: Duration, away: bool) -> bool {
        let since = self.payloads.peek(payload);
        since.is_some_and(|since| away || is_fresh(*since, now))
    }

    /// Wipes the data keys whose minute is over, and those of versions that `keep` does not name.
    pub(crate) fn retain(&mut self, now: Duration, keep: impl Fn(&KeyId) -> bool) {
        self.keys
            .retain(|wrap, unproven| is_fresh(unproven.since, now) && keep(&wrap.id));
    }

    /// How many data keys and payloads are remembered.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.keys.len(), self.payloads.len())
    }
}

fn is_fresh(since: Duration, now: Duration) -> bool {
    now.saturating_sub(since) < BAD_FOR
}
