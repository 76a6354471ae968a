//! A short memory of payloads that do not open although their wrapped key is good.
//!
//! A payload with a changed body, suite byte or commitment, or of another purpose, carries a wrapped key that the root
//! key unwraps. kube-apiserver repeats reads of a value that it cannot read, and each read would cost a call to the
//! token. So for a minute the unwrapped data key is remembered by its wrapped key, and the payload by its digest. The
//! data key seals nothing, and enters the cache only when a payload opens under it. A payload is refused from this
//! memory only after the root key has unwrapped the same data key twice: one wrong answer of a token must not make a
//! good payload unreadable for a minute.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;
use sha2::Digest as _;
use sha2::Sha256;

use crate::crypto::derive::Purpose;
use crate::envelope::Inner;
use crate::envelope::cache::BAD_FOR;
use crate::root_key::id::KeyId;
use crate::root_key::sealed_format::Sealed;
use crate::secret::Key;

/// At most this many data keys are remembered.
const MOST_KEYS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
/// At most this many payloads are remembered.
const MOST_PAYLOADS: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// Names a wrapped key alone, without purpose, suite and commitment.
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

/// Names a payload by the digest of all its bytes, and the purpose for which it should open.
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
    /// `None` if the configuration keeps no data keys.
    pub(crate) key: Option<Arc<Key>>,
    /// Whether the root key has unwrapped it twice. Payloads that do not open under it are then bad.
    pub(crate) is_confirmed: bool,
    /// Shows whether another unwrap gave the same key.
    digest: [u8; 32],
    since: Duration,
}

/// The interval at which expired data keys are wiped.
const WIPE_EVERY: Duration = Duration::from_secs(10);

/// Wipes expired data keys, which no lookup may ever touch again. Never returns.
pub(crate) async fn wipe(inner: &Inner) {
    loop {
        tokio::time::sleep(WIPE_EVERY).await;
        let now = inner.clock.boottime();
        inner.lock().unopened.retain(now, |_| true);
    }
}

/// Unproven data keys and bad payloads. They take no capacity from the cache of proven data keys and bad wrapped keys.
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
    /// The data key of a wrapped key, if it was unwrapped within [`BAD_FOR`] and no payload has opened under it.
    pub(crate) fn key(&mut self, wrap: &WrapName, now: Duration) -> Option<Unproven> {
        self.keys
            .get(wrap)
            .filter(|unproven| is_fresh(unproven.since, now))
            .cloned()
    }

    /// Notes that the root key has unwrapped a data key under which the caller's payload did not open. `keeps` is
    /// whether the configuration keeps data keys.
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

    /// Forgets a data key, because a payload has opened under it.
    pub(crate) fn forget_key(&mut self, wrap: &WrapName) {
        self.keys.pop(wrap);
    }

    /// Notes that a payload did not open under the data key of this wrapped key.
    pub(crate) fn note_payload(&mut self, payload: PayloadName, wrap: &WrapName, now: Duration) {
        let is_bad = self.key(wrap, now).is_some_and(|unproven| unproven.is_confirmed);
        if is_bad && !self.is_bad(&payload, now, false) {
            self.payloads.put(payload, now);
        }
    }

    /// Whether a payload was proven bad within [`BAD_FOR`], or at any time if its store is `away` and cannot check.
    pub(crate) fn is_bad(&self, payload: &PayloadName, now: Duration, away: bool) -> bool {
        let since = self.payloads.peek(payload);
        since.is_some_and(|since| away || is_fresh(*since, now))
    }

    /// Wipes expired data keys, and those of versions that `keep` rejects.
    pub(crate) fn retain(&mut self, now: Duration, keep: impl Fn(&KeyId) -> bool) {
        self.keys
            .retain(|wrap, unproven| is_fresh(unproven.since, now) && keep(&wrap.id));
    }

    /// The numbers of data keys and payloads that are remembered.
    #[cfg(test)]
    pub(crate) fn sizes(&self) -> (usize, usize) {
        (self.keys.len(), self.payloads.len())
    }
}

fn is_fresh(since: Duration, now: Duration) -> bool {
    now.saturating_sub(since) < BAD_FOR
}
