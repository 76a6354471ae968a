//! The state of the envelope, behind one lock that is never held across an await.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::future::Shared;
use lru::LruCache;

use crate::clock::Timestamp;
use crate::crypto::derive::Purpose;
use crate::crypto::suite::Cipher;
use crate::envelope::cache::BAD_FOR;
use crate::envelope::cache::Cache;
use crate::envelope::cache::CacheKey;
use crate::envelope::data_key::DataKey;
use crate::envelope::error::EnvelopeError;
use crate::envelope::locations::Locations;
use crate::envelope::locations::VersionLocation;
use crate::envelope::policy::Policy;
use crate::envelope::rollover::KeyRollover;
use crate::envelope::store_health::Event;
use crate::envelope::store_health::StoreHealth;
use crate::envelope::unopened::Unopened;
use crate::envelope::unopened::WrapName;
use crate::root_key::error::Error;
use crate::root_key::high_water::HighWater;
use crate::root_key::id::KeyId;
use crate::root_key::primary::Candidates;
use crate::root_key::version::Version;
use crate::root_key::waiters::Waiters;
use crate::secret::Key;

/// An id that stayed unknown until a caller's deadline is refused at once for this long.
const GIVEN_UP_FOR: Duration = Duration::from_secs(10);
/// At most this many such ids are remembered.
const GIVEN_UP_CAPACITY: std::num::NonZeroUsize = std::num::NonZeroUsize::new(1000).unwrap();

/// One unwrap in progress, shared by all callers that wait for it.
#[derive(Clone, Debug)]
pub(crate) struct InFlightUnwrap {
    pub(crate) shared: Shared<BoxFuture<'static, Result<Unwrapped, EnvelopeError>>>,
    pub(crate) waiters: Waiters,
}

/// The outcome of a successful unwrap.
#[derive(Clone, Debug)]
pub(crate) enum Unwrapped {
    /// The cipher of the data key.
    Cipher(Arc<Cipher>),
    /// The commitment stored with the wrapped key does not match the data key.
    WrongCommitment,
}

#[derive(Debug)]
pub(crate) struct EnvelopeState {
    pub(crate) policy: Policy,
    pub(crate) locations: Locations,
    pub(crate) rollovers: HashMap<(KeyId, Purpose), KeyRollover>,
    pub(crate) primary: Primary,
    pub(crate) high_water: HighWaterRead,
    /// A version that is being written into the file `primary`, or was, before any Status has reported it: the file may
    /// name it instead of the high-water mark.
    pub(crate) written_ahead: Option<HighWater>,
    /// Why the last write of the file `primary` failed; `promotion` tries again.
    pub(crate) high_water_error: Option<String>,
    pub(crate) cache: Cache,
    pub(crate) unopened: Unopened,
    pub(crate) unwraps: HashMap<CacheKey, InFlightUnwrap>,
    pub(crate) given_up: LruCache<KeyId, Duration>,
    pub(crate) health: StoreHealth,
    /// Whether an early listing of the stores is wanted.
    pub(crate) listing: ListingWanted,
}

/// Whether an early listing of the stores is wanted; the most urgent reason last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ListingWanted {
    /// No.
    No,
    /// A `Decrypt` waits for a version that was not listed yet. The pace is limited by what callers may cost a token.
    ByDecrypt,
    /// The operator has asked for it, or a store seems to be back.
    Soon,
}

/// The highest version that this node has ever reported, from the file `primary`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum HighWaterRead {
    /// The file was not read yet, or cannot be read.
    Unread,
    /// The file was read, or written by this process.
    Read(Option<HighWater>),
}

/// The version that encrypts.
#[derive(Clone, Debug)]
pub(crate) enum Primary {
    /// There is none now, for this reason.
    Absent(EnvelopeError),
    /// This version. It is on disk as the high-water mark.
    Present(Version),
}

impl EnvelopeState {
    pub(crate) fn new(policy: Policy, stores: usize) -> Self {
        Self {
            cache: Cache::new(policy.cache_capacity),
            unopened: Unopened::default(),
            policy,
            locations: Locations::new(stores),
            rollovers: HashMap::new(),
            primary: Primary::Absent(EnvelopeError::Unavailable("the daemon is starting".into())),
            high_water: HighWaterRead::Unread,
            written_ahead: None,
            high_water_error: None,
            unwraps: HashMap::new(),
            given_up: LruCache::sparse(GIVEN_UP_CAPACITY),
            health: StoreHealth::default(),
            listing: ListingWanted::Soon,
        }
    }

    /// Asks for an early listing. Returns whether this raises the urgency.
    pub(crate) fn want_listing(&mut self, wanted: ListingWanted) -> bool {
        let news = wanted > self.listing;
        self.listing = self.listing.max(wanted);
        news
    }

    /// The version that encrypts now: Status reports it and Encrypt uses it.
    ///
    /// # Errors
    /// No payload may be sealed now.
    pub(crate) fn ready(&self, now: Duration) -> Result<&Version, EnvelopeError> {
        self.health.verdict(&self.policy, now)?;
        match &self.primary {
            // This node could not open payloads sealed under it.
            Primary::Present(version) if self.locations.of(&version.id) == VersionLocation::Ambiguous => {
                Err(EnvelopeError::Ambiguous(version.id.clone()))
            }
            // An outage does not suspend this limit, and without the root key no new data key can be made.
            Primary::Present(version) if self.health.is_outage() && self.is_used_up(&version.id, now) => Err(
                EnvelopeError::Unavailable("the data key has reached its limit of 2^32 payloads or 64 GiB".into()),
            ),
            Primary::Present(version) => Ok(version),
            Primary::Absent(reason) => Err(reason.clone()),
        }
    }

    fn is_used_up(&self, id: &KeyId, now: Duration) -> bool {
        let mut rollover = self.rollovers.iter().filter(|((of, _), _)| of == id);
        rollover.any(|(_, rollover)| rollover.is_used_up(&self.policy, now))
    }

    /// Whether a version encrypts.
    pub(crate) fn has_primary(&self) -> bool {
        matches!(self.primary, Primary::Present(_))
    }

    /// Whether this version encrypts.
    pub(crate) fn encrypts(&self, id: &KeyId) -> bool {
        matches!(&self.primary, Primary::Present(version) if version.id == *id)
    }

    /// A fault that does not stop calls yet, as a sentence for the operator.
    pub(crate) fn concern(&self) -> Option<String> {
        let away = self
            .health
            .away()
            .map(|reason| format!("the root key is unavailable, data keys in memory serve: {reason}"));
        away.or_else(|| self.high_water_error.clone())
    }

    /// Notes that no version encrypts. Returns whether this or the reason is new.
    pub(crate) fn set_absent(&mut self, reason: EnvelopeError) -> bool {
        let news = match &self.primary {
            Primary::Present(_) => true,
            Primary::Absent(old) => old.to_string() != reason.to_string(),
        };
        self.primary = Primary::Absent(reason);
        news
    }

    /// The input of the decision which version of the first root key encrypts. `None` until the store was listed and
    /// the high-water mark read: before that, an unlisted version must not count as missing.
    pub(crate) fn candidates(&self, now: Timestamp) -> Option<Candidates<'_>> {
        let HighWaterRead::Read(high_water) = &self.high_water else {
            return None;
        };
        let high_water = high_water.as_ref();
        let versions = self.locations.first()?;
        Some(Candidates {
            versions,
            high_water,
            now,
        })
    }

    /// Whether there are proven data keys of a version for each of `purposes`.
    pub(crate) fn has_data_keys(&self, id: &KeyId, purposes: &[Purpose]) -> bool {
        purposes
            .iter()
            .all(|purpose| self.rollovers.contains_key(&(id.clone(), *purpose)))
    }

    /// The cipher of a data key in memory. An outage suspends the TTL.
    pub(crate) fn cached(&mut self, key: &CacheKey, now: Duration) -> Option<Arc<Cipher>> {
        if self.policy.cache_ttl.is_zero() {
            return None;
        }
        let ttl = (!self.health.is_outage()).then_some(self.policy.cache_ttl);
        self.cache.get(key, now, ttl)
    }

    /// Keeps a cipher under which a payload has opened, unless the configuration disables the cache.
    pub(crate) fn keep(&mut self, key: CacheKey, id: KeyId, cipher: Arc<Cipher>, now: Duration) {
        if !self.policy.cache_ttl.is_zero() {
            self.cache.put(key, id, cipher, now);
        }
    }

    /// Remembers an unwrapped data key under which the caller's payload did not open.
    pub(crate) fn note_unproven(&mut self, wrap: WrapName, key: Key, now: Duration) {
        let keeps = self.policy.cache_ttl >= BAD_FOR;
        self.unopened.note_key(wrap, key, keeps, now);
    }

    /// Keeps the cipher of a data key that this process made, so that reading its payloads needs no call to the token.
    pub(crate) fn keep_own(&mut self, purpose: Purpose, data_key: &DataKey, now: Duration) {
        let key = CacheKey {
            purpose,
            header: data_key.header.clone(),
        };
        self.keep(key, data_key.id.clone(), data_key.cipher.clone(), now);
    }

    /// Why a store is unavailable, if it is.
    pub(crate) fn away(&self, store: usize) -> Option<String> {
        let unlisted = self.locations.error(store).map(Error::chain);
        let away = self.health.away().filter(|_| store == 0);
        unlisted.or_else(|| away.map(str::to_owned))
    }

    /// Takes a new listing of a store, and drops the data keys of versions that no longer decrypt.
    pub(crate) fn take_listing(&mut self, store: usize, listed: Result<Vec<Version>, Error>, now: Duration) {
        if store == 0 {
            self.health.observe(&Event::Listed(listed.as_ref().map(drop)), now);
        }
        self.locations.take(store, listed);
        let decrypts = |id: &KeyId| self.locations.decrypts(id);
        self.cache.retain_versions(decrypts);
        self.unopened.retain(now, decrypts);
        self.rollovers.retain(|(id, _), _| decrypts(id));
        if !self.health.is_outage() {
            self.cache.expire(now, self.policy.cache_ttl);
        }
    }

    /// Wipes the data keys of versions that will not encrypt again. Reads under them continue from the cache.
    pub(crate) fn drop_data_keys_below_the_primary(&mut self, now: Timestamp) {
        let Some(candidates) = self.candidates(now) else {
            return;
        };
        let needed = candidates.need_data_keys();
        self.rollovers
            .retain(|(id, _), _| needed.iter().any(|version| version.id == *id));
    }

    /// Remembers that a version stayed unknown until a caller's deadline.
    pub(crate) fn give_up(&mut self, id: KeyId, now: Duration) {
        self.given_up.put(id, now);
    }

    /// Whether a version stayed unknown for a caller within [`GIVEN_UP_FOR`].
    pub(crate) fn was_given_up(&self, id: &KeyId, now: Duration) -> bool {
        self.given_up
            .peek(id)
            .is_some_and(|since| now.saturating_sub(*since) < GIVEN_UP_FOR)
    }
}
