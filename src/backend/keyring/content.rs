//! The content of a keyring: versions with their keys.

use serde::Deserialize;
use serde::Serialize;

use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Version;
use crate::secret::Key;

/// A keyring in memory. Its keys are wiped with it.
#[derive(Debug)]
pub(super) struct KeyringContent {
    /// The root key that it holds.
    pub(super) name: RootKeyName,
    /// Its versions in the order in which they were made.
    pub(super) entries: Vec<KeyringEntry>,
}

/// One version with its key.
#[derive(Debug)]
pub(super) struct KeyringEntry {
    /// Number, state and id.
    pub(super) version: Version,
    /// The origin of the key.
    pub(super) origin: Origin,
    /// The key itself.
    pub(super) key: Key,
}

/// The origin of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Origin {
    /// dekhand made it.
    Generated,
    /// Another system made it.
    Imported,
}

impl KeyringContent {
    /// A keyring without versions.
    pub(super) fn empty(name: RootKeyName) -> Self {
        Self {
            name,
            entries: Vec::new(),
        }
    }

    /// The versions in their order.
    pub(super) fn versions(&self) -> Vec<Version> {
        let mut versions: Vec<Version> = self.entries.iter().map(|entry| entry.version.clone()).collect();
        versions.sort_by(|one, other| one.rank().cmp(&other.rank()));
        versions
    }

    /// The version of an id.
    pub(super) fn entry(&self, id: &KeyId) -> Option<&KeyringEntry> {
        self.entries.iter().find(|entry| entry.version.id == *id)
    }

    /// Whether both have the same content. Keys are compared in constant time.
    pub(super) fn same_as(&self, other: &Self) -> bool {
        let same = |(one, other): (&KeyringEntry, &KeyringEntry)| {
            one.version == other.version && one.origin == other.origin && one.key.same_as(&other.key)
        };
        self.name == other.name
            && self.entries.len() == other.entries.len()
            && self.entries.iter().zip(&other.entries).all(same)
    }
}
