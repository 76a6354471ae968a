//! The list of root keys: never empty, without duplicate names.

use std::iter;

use crate::backend::keyring::KeyringOptions;
use crate::config::error::Fault;
use crate::config::error::FaultAt;
use crate::config::location::steps_of;
use crate::config::pkcs11;
use crate::config::pkcs11::RefusedWithin;
use crate::config::pkcs11::key_of;
use crate::config::schema::KeyringSection;
use crate::config::schema::RootKeySection;
use crate::config::values::AbsolutePath;
use crate::config::values::Flag;
use crate::config::yaml::Optional;
use crate::config::yaml::Required;
use crate::config::yaml::Section;
use crate::root_key::name::RootKeyName;
use crate::token::options::Pkcs11Options;

/// An entry of `root_keys:`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RootKeyEntry {
    /// Its name.
    pub name: RootKeyName,
    /// Whether one store serves all nodes, or there is only one node.
    pub shared: bool,
    /// Its store.
    pub store: RootKeyStore,
}

/// The store of a root key, with the options of its backend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootKeyStore {
    /// A file.
    Keyring(KeyringOptions),
    /// A PKCS#11 token.
    Pkcs11(Box<Pkcs11Options>),
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

    /// The root keys of a list, or `None` if it is empty. The caller has checked that no name is there twice.
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

/// The root keys made from the sections of a file.
pub(super) fn list(sections: Vec<Section<RootKeySection>>) -> Result<RootKeys, FaultAt> {
    let mut list: Vec<RootKeyEntry> = Vec::new();
    for (index, Section(section)) in sections.into_iter().enumerate() {
        let at = |(key, refusal): RefusedWithin| (steps_of(&format!("root_keys[{index}]{key}")), refusal);
        let entry = root_key(section).map_err(at)?;
        for (other, earlier) in list.iter().enumerate() {
            if let Some((key, what)) = in_both(earlier, &entry) {
                let refusal = Fault::new(format!("`root_keys[{other}]` {what} too"));
                return Err(at((key, refusal)));
            }
        }
        list.push(entry);
    }
    // The list's type requires at least one.
    RootKeys::from_list(list).ok_or_else(|| (steps_of("root_keys"), Fault::new("expected a root key")))
}

/// What `new` must not share with `old`, and its path in `new`. Two root keys in one token differ by their names; an id
/// in two entries is an error for both.
fn in_both(old: &RootKeyEntry, new: &RootKeyEntry) -> Option<(String, &'static str)> {
    if old.name == new.name {
        return Some((".name".to_owned(), "has this name"));
    }
    match (&old.store, &new.store) {
        (RootKeyStore::Keyring(old), RootKeyStore::Keyring(new)) => {
            (old == new).then(|| (".keyring.file".to_owned(), "is in this file"))
        }
        (RootKeyStore::Pkcs11(old), RootKeyStore::Pkcs11(new)) => {
            let index = pkcs11::shared_object(old, new)?;
            let key = new.versions.get(index).map(|version| key_of(&version.object))?;
            Some((format!(".pkcs11.versions[{index}].{key}"), "lists this key"))
        }
        _ => None,
    }
}

fn root_key(section: RootKeySection) -> Result<RootKeyEntry, RefusedWithin> {
    let RootKeySection {
        name: Required(name),
        shared: Optional(shared),
        keyring: Optional(keyring),
        pkcs11: Optional(pkcs11),
    } = section;
    let here = |refusal| (String::new(), refusal);
    let store = match (keyring, pkcs11) {
        (Some(Section(section)), None) => {
            let KeyringSection {
                file: Required(AbsolutePath(file)),
            } = section;
            RootKeyStore::Keyring(KeyringOptions { file })
        }
        (None, Some(Section(section))) => {
            let within = |(key, refusal)| (format!(".pkcs11{key}"), refusal);
            RootKeyStore::Pkcs11(Box::new(pkcs11::options(section).map_err(within)?))
        }
        (None, None) => {
            let refusal = Fault::new("expected `keyring` or `pkcs11`, the store of this root key");
            return Err(here(refusal));
        }
        (Some(_), Some(_)) => {
            let refusal = Fault::new("expected one of `keyring` and `pkcs11`, found both");
            let hint = "to move from one to the other, make two entries with different names: the first one encrypts";
            return Err(here(refusal.hint(hint)));
        }
    };
    let shared = shared.is_some_and(|Flag(shared)| shared);
    Ok(RootKeyEntry { name, shared, store })
}
