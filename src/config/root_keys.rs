//! The list of root keys: never empty, no name twice.

use std::iter;

use crate::backend::keyring::KeyringOptions;
use crate::root_key::name::RootKeyName;

/// An entry of `root_keys:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootKeyEntry {
    /// Its name.
    pub name: RootKeyName,
    /// Whether one store serves all nodes, or there is but one node.
    pub shared: bool,
    /// Where it lives.
    pub store: Store,
}

/// Where a root key lives, with the options of that backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Store {
    /// A file.
    Keyring(KeyringOptions),
}

/// Root keys in the order of the file. The first one encrypts, all of them decrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootKeys {
    first: RootKeyEntry,
    others: Vec<RootKeyEntry>,
}

impl RootKeys {
    pub(super) fn one(first: RootKeyEntry) -> Self {
        let others = Vec::new();
        Self { first, others }
    }

    /// As many as there are, unless there are none. The caller has seen that no name comes twice.
    pub(super) fn from_list(list: Vec<RootKeyEntry>) -> Option<Self> {
        let mut list = list.into_iter();
        let first = list.next()?;
        let others = list.collect();
        Some(Self { first, others })
    }

    /// The one that encrypts.
    pub fn first(&self) -> &RootKeyEntry {
        &self.first
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &RootKeyEntry> {
        iter::once(&self.first).chain(&self.others)
    }

    /// The one with this name.
    pub fn named(&self, name: &RootKeyName) -> Option<&RootKeyEntry> {
        self.iter().find(|entry| entry.name == *name)
    }
}
