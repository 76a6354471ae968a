//! The last listing of each store, and the location of every version in them.

use std::collections::HashMap;

use crate::envelope::error::EnvelopeError;
use crate::root_key::error::Error;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;

/// Where the versions are. Stores are numbered in the order of `root_keys`.
#[derive(Debug)]
pub(crate) struct Locations {
    listings: Vec<Listing>,
    of_versions: HashMap<KeyId, VersionLocation>,
}

/// The last listing of one store.
#[derive(Debug, Default)]
struct Listing {
    versions: Vec<Version>,
    /// Whether a listing has ever succeeded.
    known: bool,
    /// Why the last listing failed.
    error: Option<Error>,
    /// The number of listings, failed ones included.
    tries: u64,
}

/// The location of a version.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum VersionLocation {
    /// In this store, and it decrypts.
    Store(usize),
    /// In a store, but it no longer decrypts.
    Retired,
    /// In two stores.
    Ambiguous,
    /// In no listing.
    Unknown,
}

impl Locations {
    /// Before the first listing.
    pub(crate) fn new(stores: usize) -> Self {
        Self {
            listings: (0..stores).map(|_| Listing::default()).collect(),
            of_versions: HashMap::new(),
        }
    }

    /// Takes a new listing of a store. One that has failed leaves the versions of the last one that succeeded.
    pub(crate) fn take(&mut self, store: usize, listed: Result<Vec<Version>, Error>) {
        let Some(listing) = self.listings.get_mut(store) else {
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
        self.of_versions = locations(&self.listings);
    }

    /// The location of a version.
    pub(crate) fn of(&self, id: &KeyId) -> VersionLocation {
        self.of_versions.get(id).copied().unwrap_or(VersionLocation::Unknown)
    }

    /// Whether a version is in a store, and not retired.
    pub(crate) fn decrypts(&self, id: &KeyId) -> bool {
        matches!(self.of(id), VersionLocation::Store(_) | VersionLocation::Ambiguous)
    }

    /// The versions of the first store; `None` until it was listed.
    pub(crate) fn first(&self) -> Option<&[Version]> {
        let listing = self.listings.first().filter(|listing| listing.known)?;
        Some(&listing.versions)
    }

    /// The number of listings of each store, for [`Locations::all_listed_since`].
    pub(crate) fn listings(&self) -> Vec<u64> {
        self.listings.iter().map(|listing| listing.tries).collect()
    }

    /// Whether every store was listed after [`Locations::listings`] had returned `before`.
    pub(crate) fn all_listed_since(&self, before: &[u64]) -> bool {
        let mut listings = self.listings.iter().zip(before);
        listings.all(|(listing, before)| listing.tries > *before)
    }

    /// Why the last listing of a store failed, if it did.
    pub(crate) fn error(&self, store: usize) -> Option<&Error> {
        self.listings.get(store)?.error.as_ref()
    }

    /// The first store whose last listing failed or is missing, and why: until it is listed, no id counts as unknown.
    pub(crate) fn unlisted(&self) -> Option<(usize, EnvelopeError)> {
        let unavailable = |listing: &Listing| match &listing.error {
            Some(error) => Some(error.chain()),
            None if listing.known => None,
            None => Some("the versions are not listed yet".to_owned()),
        };
        let mut listings = self.listings.iter().enumerate();
        listings.find_map(|(store, listing)| Some((store, EnvelopeError::Unavailable(unavailable(listing)?))))
    }
}

fn locations(listings: &[Listing]) -> HashMap<KeyId, VersionLocation> {
    let mut locations = HashMap::new();
    for (store, listing) in listings.iter().enumerate() {
        for version in &listing.versions {
            let location = if version.state.decrypts() {
                VersionLocation::Store(store)
            } else {
                VersionLocation::Retired
            };
            let known = locations.entry(version.id.clone());
            known
                .and_modify(|location| *location = VersionLocation::Ambiguous)
                .or_insert(location);
        }
    }
    locations
}
