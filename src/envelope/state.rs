//! Everything that the envelope remembers, behind one lock that is never held across an await.

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
use crate::envelope::primary::Candidates;
use crate::envelope::rollover::KeyRollover;
use crate::envelope::store_health::StoreHealth;
use crate::envelope::unopened::Unopened;
use crate::envelope::unopened::WrapName;
use crate::root_key::error::Error;
use crate::root_key::high_water::HighWater;
use crate::root_key::id::KeyId;
use crate::root_key::patience::Patience;
use crate::root_key::version::Version;
use crate::secret::Key;

/// An id that stayed unknown until a caller's deadline is answered at once for so long.
const GIVEN_UP_FOR: Duration = Duration::from_secs(10);
/// So many of them are remembered.
const GIVEN_UP_CAPACITY: std::num::NonZeroUsize = std::num::NonZeroUsize::new(1000).unwrap();

/// One unwrap under way, and all who wait for it.
#[derive(Clone, Debug)]
pub(crate) struct Flight {
    pub(crate) landing: Shared<BoxFuture<'static, Result<Unwrapped, EnvelopeError>>>,
    pub(crate) patience: Patience,
}

/// The outcome of an unwrap that the root key has made.
#[derive(Clone, Debug)]
pub(crate) enum Unwrapped {
    /// The cipher of the data key.
    Cipher(Arc<Cipher>),
    /// The commitment beside the wrapped key is not that of the data key.
    WrongCommitment,
}

#[derive(Debug)]
pub(crate) struct State {
    pub(crate) policy: Policy,
    /// As many as there are root keys in the configuration, in its order.
    pub(crate) stores: Vec<Listing>,
    /// Every version that they list.
    places: HashMap<KeyId, Place>,
    pub(crate) standing: HashMap<(KeyId, Purpose), KeyRollover>,
    pub(crate) primary: Primary,
    pub(crate) mark: Mark,
    /// A version whose write into the file `primary` was begun, and which no Status has reported: the file may name it
    /// instead of the mark.
    pub(crate) written_ahead: Option<HighWater>,
    /// What can't be written into the file `primary`, and why; the switch tries again.
    pub(crate) mark_error: Option<String>,
    pub(crate) cache: Cache,
    pub(crate) unopened: Unopened,
    pub(crate) flights: HashMap<CacheKey, Flight>,
    pub(crate) given_up: LruCache<KeyId, Duration>,
    pub(crate) truth: StoreHealth,
    /// Whether the stores are to be listed before that is due.
    pub(crate) listing: ListingWanted,
}

/// What one store listed last.
#[derive(Debug, Default)]
pub(crate) struct Listing {
    pub(crate) versions: Vec<Version>,
    /// Whether it was ever listed.
    pub(crate) known: bool,
    /// Why it could not be listed again.
    pub(crate) error: Option<Error>,
    /// How often that was tried.
    pub(crate) tries: u64,
}

/// Whether the stores are to be listed before that is due; the more urgent last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum ListingWanted {
    /// They are not.
    No,
    /// A `Decrypt` waits for a version that was not listed yet. What callers may cost a token sets the pace.
    ByDecrypt,
    /// The operator has asked, or a store seems to be back.
    Soon,
}

/// The highest version that this node has ever reported, as the file `primary` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Mark {
    /// The file was not read yet, or can't be.
    Unread,
    /// The file was read, or written by this process.
    Read(Option<HighWater>),
}

/// Which version encrypts.
#[derive(Clone, Debug)]
pub(crate) enum Primary {
    /// None yet, or none any more; the error says why.
    Absent(EnvelopeError),
    /// This one. It is on disk as the high water.
    Present(Version),
}

/// Where a version is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// In this store, and it decrypts.
    Store(usize),
    /// Found, but it does not decrypt any more.
    Retired,
    /// In two stores.
    Ambiguous,
    /// In none, as far as was listed.
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

    /// How often each store was listed, for [`State::all_listed_since`].
    pub(crate) fn listings(&self) -> Vec<u64> {
        self.stores.iter().map(|listing| listing.tries).collect()
    }

    /// Whether every store was listed after [`State::listings`] had returned `before`.
    pub(crate) fn all_listed_since(&self, before: &[u64]) -> bool {
        let mut stores = self.stores.iter().zip(before);
        stores.all(|(listing, before)| listing.tries > *before)
    }

    /// Wants the stores listed. Says whether that is news.
    pub(crate) fn want_listing(&mut self, wanted: ListingWanted) -> bool {
        let news = wanted > self.listing;
        self.listing = self.listing.max(wanted);
        news
    }

    /// The version that encrypts now: what Status reports and Encrypt uses.
    ///
    /// # Errors
    /// No payload may be sealed now.
    pub(crate) fn ready(&self, now: Duration) -> Result<&Version, EnvelopeError> {
        self.truth.verdict(&self.policy, now)?;
        match &self.primary {
            // What it sealed, this node would not open.
            Primary::Present(version) if self.locate(&version.id) == Place::Ambiguous => {
                Err(EnvelopeError::Ambiguous(version.id.clone()))
            }
            // No outage suspends this limit, and without the root key there is no other data key.
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

    /// What an operator should know although calls are answered; `None` if all is well.
    pub(crate) fn concern(&self) -> Option<String> {
        let away = self
            .truth
            .away()
            .map(|reason| format!("the root key is away, keys in memory serve: {reason}"));
        away.or_else(|| self.mark_error.clone())
    }

    /// No version encrypts. Says whether that, or the reason, is news.
    pub(crate) fn set_absent(&mut self, reason: EnvelopeError) -> bool {
        let news = match &self.primary {
            Primary::Present(_) => true,
            Primary::Absent(old) => old.to_string() != reason.to_string(),
        };
        self.primary = Primary::Absent(reason);
        news
    }

    /// What decides which version of the first root key encrypts. Before the store was listed and the high water read
    /// nothing does: a version that was not seen is not missing.
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

    /// Where a version is, as far as was listed.
    pub(crate) fn locate(&self, id: &KeyId) -> Place {
        self.places.get(id).copied().unwrap_or(Place::Unknown)
    }

    /// The cipher of a data key in memory. While the token is away the TTL is suspended.
    pub(crate) fn cached(&mut self, key: &CacheKey, now: Duration) -> Option<Arc<Cipher>> {
        if self.policy.cache_ttl.is_zero() {
            return None;
        }
        let ttl = (!self.truth.is_outage()).then_some(self.policy.cache_ttl);
        self.cache.get(key, now, ttl)
    }

    /// Keeps a cipher under which a payload has opened, if the configuration keeps any.
    pub(crate) fn keep(&mut self, key: CacheKey, id: KeyId, cipher: Arc<Cipher>, now: Duration) {
        if !self.policy.cache_ttl.is_zero() {
            self.cache.put(key, id, cipher, now);
        }
    }

    /// Remembers a data key that the root key has unwrapped, and under which the payload that asked for it did not open.
    pub(crate) fn note_unproven(&mut self, wrap: WrapName, key: Key, now: Duration) {
        let keeps = self.policy.cache_ttl >= BAD_FOR;
        self.unopened.note_key(wrap, key, keeps, now);
    }

    /// Keeps the cipher of our own data key: this process reads what it wrote without asking the token.
    pub(crate) fn keep_own(&mut self, purpose: Purpose, data_key: &DataKey, now: Duration) {
        let key = CacheKey {
            purpose,
            header: data_key.header.clone(),
        };
        self.keep(key, data_key.id.clone(), data_key.cipher.clone(), now);
    }

    /// The first store whose versions are not known well enough to call an id unknown, and why.
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

    /// Why a store is away, if it is.
    pub(crate) fn away(&self, store: usize) -> Option<String> {
        let unlisted = self.stores.get(store)?.error.as_ref().map(Error::chain);
        let away = self.truth.away().filter(|_| store == 0);
        unlisted.or_else(|| away.map(str::to_owned))
    }

    /// Whether the versions of a store could not be listed when that was tried last.
    pub(crate) fn is_unlisted(&self, store: usize) -> bool {
        self.stores.get(store).is_some_and(|listing| listing.error.is_some())
    }

    /// Takes a new listing of a store and drops from memory what no longer decrypts.
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

    /// Wipes the data keys of versions that will not encrypt again; the cache still opens under them.
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

    /// Whether a version stayed unknown a short while ago.
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
