//! An LRU cache of unwrapped data keys, and a list of wrapped keys that were proven bad.

use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use lru::LruCache;

use crate::crypto::derive::Purpose;
use crate::crypto::suite::Cipher;
use crate::root_key::id::KeyId;

/// A wrapped key that was proven bad is refused for this long without a call to the root key.
pub(crate) const BAD_FOR: Duration = Duration::from_secs(60);
/// At most this many bad wrapped keys are remembered.
const BAD_CAPACITY: NonZeroUsize = NonZeroUsize::new(1000).unwrap();

/// Names a data key: its purpose, and the header of the payloads that it seals.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct CacheKey {
    pub(crate) purpose: Purpose,
    pub(crate) header: Box<[u8]>,
}

/// Ciphers by data key. A cipher wipes its key when its last user drops it.
#[derive(Debug)]
pub(crate) struct Cache {
    ciphers: LruCache<CacheKey, Entry>,
    bad: LruCache<CacheKey, Duration>,
}

#[derive(Debug)]
struct Entry {
    id: KeyId,
    cipher: Arc<Cipher>,
    since: Duration,
}

impl Cache {
    pub(crate) fn new(capacity: NonZeroUsize) -> Self {
        Self {
            ciphers: LruCache::sparse(capacity),
            bad: LruCache::sparse(BAD_CAPACITY),
        }
    }

    /// The cipher, unless it is older than `ttl`. Without a `ttl` a cipher of any age is returned.
    pub(crate) fn get(&mut self, key: &CacheKey, now: Duration, ttl: Option<Duration>) -> Option<Arc<Cipher>> {
        let entry = self.ciphers.get(key)?;
        if ttl.is_some_and(|ttl| entry.is_older(now, ttl)) {
            self.ciphers.pop(key);
            return None;
        }
        Some(entry.cipher.clone())
    }

    /// Keeps a cipher under which a payload has opened.
    pub(crate) fn put(&mut self, key: CacheKey, id: KeyId, cipher: Arc<Cipher>, now: Duration) {
        self.ciphers.put(key, Entry { id, cipher, since: now });
    }

    /// Drops everything older than `ttl`.
    pub(crate) fn expire(&mut self, now: Duration, ttl: Duration) {
        self.ciphers.retain(|_, entry| !entry.is_older(now, ttl));
    }

    /// Drops the data keys of versions that `keep` rejects.
    pub(crate) fn retain_versions(&mut self, keep: impl Fn(&KeyId) -> bool) {
        self.ciphers.retain(|_, entry| keep(&entry.id));
    }

    /// Changes the capacity.
    pub(crate) fn resize(&mut self, capacity: NonZeroUsize) {
        self.ciphers.resize(capacity);
    }

    pub(crate) fn len(&self) -> usize {
        self.ciphers.len()
    }

    /// Remembers a wrapped key that was proven bad.
    pub(crate) fn put_bad(&mut self, key: CacheKey, now: Duration) {
        self.bad.put(key, now);
    }

    /// Whether a wrapped key was proven bad within [`BAD_FOR`], or at any time if its store is `away` and cannot check.
    pub(crate) fn is_bad(&self, key: &CacheKey, now: Duration, away: bool) -> bool {
        self.bad
            .peek(key)
            .is_some_and(|since| away || now.saturating_sub(*since) < BAD_FOR)
    }

    /// The number of bad wrapped keys that are remembered.
    #[cfg(test)]
    pub(crate) fn bad_ones(&self) -> usize {
        self.bad.len()
    }
}

impl Entry {
    fn is_older(&self, now: Duration, ttl: Duration) -> bool {
        now.saturating_sub(self.since) >= ttl
    }
}
