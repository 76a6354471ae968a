//! The root key that a command is about.

use std::path::Path;
use std::path::PathBuf;

use crate::backend::keyring::Keyring;
use crate::backend::keyring::KeyringOptions;
use crate::backend::keyring::admin::KeyringAdmin;
use crate::cli::keys::error::KeysError;
use crate::clock::Clock;
use crate::config::RootKeyEntry;
use crate::config::Store;
use crate::files::thread::FileThread;
use crate::root_key::Admin;
use crate::root_key::high_water::HighWater;
use crate::root_key::high_water::HighWaterFile;
use crate::root_key::name::RootKeyName;
use crate::root_key::rotation::Rotation;

/// One root key of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: RootKeyName,
    /// Whether one store serves all nodes.
    pub shared: bool,
    /// Where it lives.
    pub keyring: KeyringOptions,
    /// The state directory of the daemon.
    pub state: PathBuf,
}

impl Target {
    /// An entry of `root_keys:` in a configuration with this state directory, if it is a keyring.
    pub fn new(entry: &RootKeyEntry, state: &Path) -> Option<Self> {
        let RootKeyEntry { name, shared, store } = entry;
        let Store::Keyring(keyring) = store else {
            return None;
        };
        Some(Self {
            name: name.clone(),
            shared: *shared,
            keyring: keyring.clone(),
            state: state.to_owned(),
        })
    }

    /// For looking.
    pub(super) fn reader(&self) -> KeyringAdmin {
        KeyringAdmin::new(&self.keyring, self.name.clone())
    }

    /// For changing, with no other command in between; waits for one that is at work.
    pub(super) fn writer(&self) -> Result<KeyringAdmin, KeysError> {
        Ok(KeyringAdmin::exclusive(&self.keyring, self.name.clone())?)
    }

    /// What the daemon sees.
    pub(super) fn root_key(&self) -> Keyring {
        Keyring::new(&self.keyring, self.name.clone(), FileThread::in_place())
    }

    /// The rules.
    pub(super) fn rules<'a>(&'a self, admin: &'a dyn Admin, clock: &'a Clock) -> Rotation<'a> {
        Rotation {
            admin,
            name: &self.name,
            clock,
            shared: self.shared,
        }
    }

    /// Where this node keeps what it has reported.
    pub(super) fn high_water(&self) -> HighWaterFile {
        HighWaterFile::of(&self.state)
    }

    /// What this node has reported.
    pub(super) fn recorded(&self) -> Result<Option<HighWater>, KeysError> {
        Ok(self.high_water().read(&self.name)?)
    }
}

/// The root key of this name, else the first one.
pub(super) fn one<'a>(targets: &'a [Target], name: Option<&RootKeyName>) -> Result<&'a Target, KeysError> {
    let found = named(targets, name)?;
    let first = found.into_iter().next();
    first.ok_or(KeysError::Usage("a configuration with a root key"))
}

/// The root key of this name, else all.
pub(super) fn named<'a>(targets: &'a [Target], name: Option<&RootKeyName>) -> Result<Vec<&'a Target>, KeysError> {
    let Some(wanted) = name else {
        return Ok(targets.iter().collect());
    };
    let found: Vec<&Target> = targets.iter().filter(|target| target.name == *wanted).collect();
    if found.is_empty() {
        let known: Vec<&str> = targets.iter().map(|target| target.name.as_str()).collect();
        return Err(KeysError::UnknownRootKey {
            wanted: wanted.clone(),
            known: known.join(", "),
        });
    }
    Ok(found)
}
