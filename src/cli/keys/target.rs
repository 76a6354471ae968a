//! The root key that a command works on.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use crate::backend::keyring::Keyring;
use crate::backend::keyring::admin::KeyringAdmin;
use crate::cli::keys::Console;
use crate::cli::keys::arguments::KeysCommand;
use crate::cli::keys::error::FailureKind;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::store::OpenStore;
use crate::cli::keys::store::StoreAccess;
use crate::config::Config;
use crate::config::RootKeyEntry;
use crate::config::RootKeyStore;
use crate::files::io_thread::FileThread;
use crate::root_key::RootKey;
use crate::root_key::high_water::HighWater;
use crate::root_key::high_water::HighWaterFile;
use crate::root_key::name::RootKeyName;
use crate::root_key::rotation::Rotation;
use crate::token::assignment::Assignment;
use crate::token::assignment::Role;
use crate::token::options::Pkcs11Options;
use crate::token::proof_record::ProofRecord;

/// One root key of a configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its name.
    pub name: RootKeyName,
    /// Whether one store serves all nodes.
    pub shared: bool,
    /// Its store.
    pub store: RootKeyStore,
    /// The state directory of the daemon.
    pub state: PathBuf,
}

impl Target {
    /// An entry of `root_keys:` in a configuration with this state directory.
    pub fn new(entry: &RootKeyEntry, state: &Path) -> Self {
        let RootKeyEntry { name, shared, store } = entry.clone();
        let state = state.to_owned();
        Self {
            name,
            shared,
            store,
            state,
        }
    }

    /// Opens the store.
    pub(super) fn open(&self, purpose: StoreAccess, console: &Console<'_>) -> Result<OpenStore, KeysError> {
        Ok(match &self.store {
            RootKeyStore::Keyring(options) => OpenStore::Keyring(match purpose {
                StoreAccess::Look | StoreAccess::Consider => KeyringAdmin::new(options, self.name.clone()),
                StoreAccess::Change => KeyringAdmin::exclusive(options, self.name.clone())?,
            }),
            RootKeyStore::Pkcs11(_) => {
                let role = match purpose {
                    StoreAccess::Look => Role::Look,
                    StoreAccess::Consider | StoreAccess::Change => Role::Admin,
                };
                OpenStore::Token(console.tokens.keys(&self.name, role)?)
            }
        })
    }

    /// Turns a store that was opened to consider a change into one that is locked against other commands of this node.
    /// A token has no lock; instead, the rules check the version again.
    pub(super) fn hold(&self, opened: OpenStore) -> Result<OpenStore, KeysError> {
        Ok(match (&self.store, opened) {
            (RootKeyStore::Keyring(options), OpenStore::Keyring(_)) => {
                OpenStore::Keyring(KeyringAdmin::exclusive(options, self.name.clone())?)
            }
            (_, opened) => opened,
        })
    }

    /// The root key as the daemon sees it.
    pub(super) fn root_key(&self, console: &Console<'_>) -> Result<Box<dyn RootKey>, KeysError> {
        Ok(match &self.store {
            RootKeyStore::Keyring(options) => {
                Box::new(Keyring::new(options, self.name.clone(), FileThread::in_place()))
            }
            RootKeyStore::Pkcs11(_) => console.tokens.root_key(&self.name)?,
        })
    }

    /// The rules.
    pub(super) fn rules<'a>(&'a self, opened: &'a OpenStore, console: &'a Console<'_>) -> Rotation<'a> {
        Rotation {
            admin: opened.admin(),
            name: &self.name,
            clock: console.clock,
            shared: self.shared,
            step: self.step(),
        }
    }

    /// The resolution of dates in its store.
    pub(super) fn step(&self) -> Duration {
        match &self.store {
            RootKeyStore::Keyring(_) => Duration::from_secs(1),
            // Labels have whole minutes.
            RootKeyStore::Pkcs11(_) => Duration::from_secs(60),
        }
    }

    /// The token's options, if it is in a token.
    pub(super) fn token(&self) -> Option<&Pkcs11Options> {
        match &self.store {
            RootKeyStore::Keyring(_) => None,
            RootKeyStore::Pkcs11(options) => Some(options),
        }
    }

    /// The name of its backend, which is also the name of the section in the configuration.
    pub(super) fn backend(&self) -> &'static str {
        match &self.store {
            RootKeyStore::Keyring(_) => "keyring",
            RootKeyStore::Pkcs11(_) => "pkcs11",
        }
    }

    /// The place of its store, as text.
    pub(super) fn place(&self) -> String {
        match &self.store {
            RootKeyStore::Keyring(options) => options.file.display().to_string(),
            RootKeyStore::Pkcs11(options) => format!("token {} of {}", options.token, options.module.display()),
        }
    }

    /// Adds to an error that it is about this store.
    pub(super) fn explain(&self, error: KeysError) -> KeysError {
        match error.kind() {
            FailureKind::Unreachable if self.token().is_some() => KeysError::OfToken(Box::new(error)),
            _ => error,
        }
    }

    /// The assignment of a command's worker; `None` if it is not in a token.
    pub(super) fn assignment(&self, role: Role, config: &Config) -> Option<Assignment> {
        Some(Assignment {
            role,
            root_key: self.name.clone(),
            options: self.token()?.clone(),
            state: Some(self.state.clone()),
            memory: config.worker_memory,
            lock_memory: config.hardening.lock_memory,
        })
    }

    /// The file with this node's high-water mark.
    pub(super) fn high_water(&self) -> HighWaterFile {
        HighWaterFile::of(&self.state)
    }

    /// The proof records: which keys this node has used as its versions.
    pub(super) fn proof_record(&self) -> ProofRecord {
        ProofRecord::of(&self.state)
    }

    /// The high-water mark of this node.
    pub(super) fn recorded(&self) -> Result<Option<HighWater>, KeysError> {
        Ok(self.high_water().read(&self.name)?)
    }
}

/// The root keys that a command works on: the one that it names, else all for `list`, else the first one.
pub(super) fn about<'a>(targets: &'a [Target], command: &KeysCommand) -> Result<Vec<&'a Target>, KeysError> {
    let mut found = named(targets, command.which().root_key.as_ref())?;
    if !matches!(command, KeysCommand::List(_)) {
        found.truncate(1);
    }
    Ok(found)
}

fn named<'a>(targets: &'a [Target], name: Option<&RootKeyName>) -> Result<Vec<&'a Target>, KeysError> {
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
