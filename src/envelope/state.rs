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
use crate::envelope::policy::Policy;
use crate::envelope::rollover::KeyRollover;
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
pub(crate) struct Flight {
    pub(crate) landing: Shared<BoxFuture<'static, Result<Unwrapped, EnvelopeError>>>,
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
pub(crate) struct State {
    pub(crate) policy: Policy,
    /// One listing for each root key, in the order of the configuration.
    pub(crate) stores: Vec<Listing>,
    /// The place of every listed version.
    places: HashMap<KeyId, Place>,
    pub(crate) standing: HashMap<(KeyId, Purpose), KeyRollover>,
    pub(crate) primary: Primary,
    pub(crate) mark: Mark,
    /// A version that is being written into the file `primary`, or was, before any Status has reported it: the file may
    /// name it instead of the mark.
    pub(crate) written_ahead: Option<HighWater>,
    /// Why the last write of the file `primary` failed; `promotion` tries again.
    pub(crate) mark_error: Option<String>,
    pub(crate) cache: Cache,
    pub(crate) unopened: Unopened,
    pub(crate) flights: HashMap<CacheKey, Flight>,
    pub(crate) given_up: LruCache<KeyId, Duration>,
    pub(crate) truth: StoreHealth,
    /// Whether an early listing of the stores is wanted.
    pub(crate) listing: ListingWanted,
}

/// The last listing of one store.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) versions: Vec<Version>,
    /// Whether a listing has ever succeeded.
    pub(crate) known: bool,
    /// Why the last listing failed.
    pub(crate) error: Option<Error>,
    /// The number of listings, failed ones included.
    pub(crate) tries: u64,
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
pub(crate) enum Mark {
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
    /// This version. It is on disk as the high water.
    Present(Version),
}

/// The place of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this store, and it decrypts.
    Store(usize),
    /// In a store, but it no longer decrypts.
    Retired,
    /// In two stores.
    Ambiguous,
    /// In no listing.
    Unknown,
}

impl State {
    pub(crate) fn new(policy: Policy, stores: usize) -> Self {
        Self {
            cache: Cache::new(policy.cache_capacity),
            unopened: Unopened::default(),
            policy,
            stores: (0..stores).map(|_| Listing::default()).collect(),
            places: HashMap::new(),
            standing: HashMap::new(),
            primary: Primary::Absent(EnvelopeError::Unavailable("the daemon is starting".into())),
            mark: Mark::Unread,
            written_ahead: None,
            mark_error: None,
            flights: HashMap::new(),
            given_up: LruCache::sparse(GIVEN_UP_CAPACITY),
            truth: StoreHealth::default(),
            listing: ListingWanted::Soon,
        }
    }

    /// The number of listings of each store, for [`State::all_listed_since`].
    pub(crate) fn listings(&self) -> Vec<u64> {
        self.stores.iter().map(|listing| listing.tries).collect()
    }

    /// Whether every store was listed after [`State::listings`] had returned `before`.
    pub(crate) fn all_listed_since(&self, before: &[u64]) -> bool {
        let mut stores = self.stores.iter().zip(before);
        stores.all(|(listing, before)| listing.tries > *before)
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
        self.truth.verdict(&self.policy, now)?;
        match &self.primary {
            // This node could not open payloads sealed under it.
            Primary::Present(version) if self.locate(&version.id) == Place::Ambiguous => {
                Err(EnvelopeError::Ambiguous(version.id.clone()))
            }
            // An outage does not suspend this limit, and without the root key no new data key can be made.
            Primary::Present(version) if self.truth.is_outage() && self.is_used_up(&version.id, now) => Err(
                EnvelopeError::Unavailable("the data key has sealed 2^32 payloads".into()),
            ),
            Primary::Present(version) => Ok(version),
            Primary::Absent(reason) => Err(reason.clone()),
        }
    }

    fn is_used_up(&self, id: &KeyId, now: Duration) -> bool {
        let mut standing = self.standing.iter().filter(|((of, _), _)| of == id);
        standing.any(|(_, standing)| standing.is_used_up(&self.policy, now))
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
            .truth
            .away()
            .map(|reason| format!("the root key is unavailable, data keys in memory serve: {reason}"));
        away.or_else(|| self.mark_error.clone())
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
    /// the high water read: before that, an unlisted version must not count as missing.
    pub(crate) fn candidates(&self, now: Timestamp) -> Option<Candidates<'_>> {
        let Mark::Read(high_water) = &self.mark else {
            return None;
        };
        let high_water = high_water.as_ref();
        let listing = self.stores.first().filter(|listing| listing.known)?;
        Some(Candidates {
            versions: &listing.versions,
            high_water,
            now,
        })
    }

    /// Whether there are proven data keys of a version for each of `purposes`.
    pub(crate) fn has_data_keys(&self, id: &KeyId, purposes: &[Purpose]) -> bool {
        purposes
            .iter()
            .all(|purpose| self.standing.contains_key(&(id.clone(), *purpose)))
    }

    /// The place of a version, from the last listings.
    pub(crate) fn locate(&self, id: &KeyId) -> Place {
        self.places.get(id).copied().unwrap_or(Place::Unknown)
    }

    /// The cipher of a data key in memory. An outage suspends the TTL.
    pub(crate) fn cached(&mut self, key: &CacheKey, now: Duration) -> Option<Arc<Cipher>> {
        if self.policy.cache_ttl.is_zero() {
            return None;
        }
        let ttl = (!self.truth.is_outage()).then_some(self.policy.cache_ttl);
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

    /// The first store whose last listing failed or is missing, and why: until it is listed, no id counts as unknown.
    pub(crate) fn store_away(&self) -> Option<(usize, EnvelopeError)> {
        self.stores
            .iter()
            .enumerate()
            .find_map(|(store, listing)| match &listing.error {
                Some(error) => Some((store, EnvelopeError::Unavailable(error.chain()))),
                None if listing.known => None,
                None => Some((
                    store,
                    EnvelopeError::Unavailable("the versions are not listed yet".into()),
                )),
            })
    }

    /// Why a store is unavailable, if it is.
    pub(crate) fn away(&self, store: usize) -> Option<String> {
        let unlisted = self.stores.get(store)?.error.as_ref().map(Error::chain);
        let away = self.truth.away().filter(|_| store == 0);
        unlisted.or_else(|| away.map(str::to_owned))
    }

    /// Whether the last listing of a store failed.
    pub(crate) fn is_unlisted(&self, store: usize) -> bool {
        self.stores.get(store).is_some_and(|listing| listing.error.is_some())
    }

    /// Takes a new listing of a store, and drops the data keys of versions that no longer decrypt.
    pub(crate) fn take_listing(&mut self, store: usize, listed: Result<Vec<Version>, Error>, now: Duration) {
        if store == 0 {
            self.truth.note_listing(listed.as_ref().map(drop));
        }
        let Some(listing) = self.stores.get_mut(store) else {
            return;
        };
        listing.tries += 1;
        match listed {
            Ok(versions) => {
                listing.versions = versions;
                listing.known = true;
                listing.error = None;
            }
            Err(error) => listing.error = Some(error),
        }
        self.places = places(&self.stores);
        let decrypts = |id: &KeyId| self.places.get(id).is_some_and(|place| *place != Place::Retired);
        self.cache.retain_versions(decrypts);
        self.unopened.retain(now, decrypts);
        self.standing.retain(|(id, _), _| decrypts(id));
        if !self.truth.is_outage() {
            self.cache.expire(now, self.policy.cache_ttl);
        }
    }

    /// Wipes the data keys of versions that will not encrypt again. Reads under them continue from the cache.
    pub(crate) fn drop_standing_below_the_primary(&mut self, now: Timestamp) {
        let Some(candidates) = self.candidates(now) else {
            return;
        };
        let needed = candidates.need_data_keys();
        self.standing
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

fn places(stores: &[Listing]) -> HashMap<KeyId, Place> {
    let mut places = HashMap::new();
    for (store, listing) in stores.iter().enumerate() {
        for version in &listing.versions {
            let place = if version.state.decrypts() {
                Place::Store(store)
            } else {
                Place::Retired
            };
            let known = places.entry(version.id.clone());
            known.and_modify(|place| *place = Place::Ambiguous).or_insert(place);
        }
    }
    places
}
