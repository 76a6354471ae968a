//! The keyring file of one root key: read whole, replaced whole, one writer at a time.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use crate::backend::keyring::KeyringOptions;
use crate::backend::keyring::content::Content;
use crate::backend::keyring::content::Entry;
use crate::backend::keyring::content::Origin;
use crate::backend::keyring::error::KeyringError;
use crate::backend::keyring::format;
use crate::clock::Timestamp;
use crate::files;
use crate::files::FileError;
use crate::files::Lock;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::secret::Key;

/// Where a keyring is, and whose it must be.
#[derive(Clone, Debug)]
pub struct KeyringFile {
    path: PathBuf,
    name: RootKeyName,
}

impl KeyringFile {
    /// The keyring of this root key; the file need not exist.
    pub fn new(options: &KeyringOptions, name: RootKeyName) -> Self {
        let KeyringOptions { file } = options;
        Self {
            path: file.clone(),
            name,
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether there is a file, good or not.
    ///
    /// # Errors
    /// The directory can't be looked at.
    pub fn exists(&self) -> Result<bool, KeyringError> {
        match std::fs::symlink_metadata(&self.path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(false),
            Err(source) => Err(KeyringError::File(FileError::Io {
                action: "look for",
                path: self.path.clone(),
                source,
            })),
        }
    }

    /// Makes the keyring with a first version, active from `now` on, if there is none yet: for `serve --dev` alone. A
    /// daemon in earnest never makes one, since a lost file must not be replaced by a new key.
    ///
    /// # Errors
    /// The file can't be made; one that is there is left alone, whatever it holds.
    pub fn create_for_trying_out(&self, now: Timestamp) -> Result<Option<Version>, KeyringError> {
        let _lock = self.lock()?;
        if self.exists()? {
            return Ok(None);
        }
        let version = Version {
            number: Number::FIRST,
            state: State::ActiveFrom(now),
            id: KeyId::random()?,
        };
        let mut content = Content::empty(self.name.clone());
        content.entries.push(Entry {
            version: version.clone(),
            origin: Origin::Generated,
            key: Key::random()?,
        });
        self.replace(&content)?;
        Ok(Some(version))
    }

    /// Makes the keyring without versions.
    ///
    /// # Errors
    /// There is one, good or not; or the file can't be made.
    pub(super) fn create(&self) -> Result<(), KeyringError> {
        if self.exists()? {
            return Err(KeyringError::Exists {
                path: self.path.clone(),
            });
        }
        self.replace(&Content::empty(self.name.clone()))
    }

    pub(super) fn read(&self) -> Result<Content, KeyringError> {
        let bytes = files::read_private(&self.path, format::LARGEST).map_err(|error| {
            if error.is_not_found() {
                KeyringError::Missing {
                    path: self.path.clone(),
                }
            } else {
                KeyringError::File(error)
            }
        })?;
        let content = format::decode(&bytes).map_err(|flaw| KeyringError::unreadable(self.path.clone(), &flaw))?;
        if content.name == self.name {
            Ok(content)
        } else {
            Err(KeyringError::Name {
                path: self.path.clone(),
                found: content.name,
                wanted: self.name.clone(),
            })
        }
    }

    /// Writes new content. The caller holds the lock and has read the old content under it: what could not be read is
    /// never overwritten.
    pub(super) fn replace(&self, content: &Content) -> Result<(), KeyringError> {
        let bytes = format::encode(content).map_err(|flaw| KeyringError::Unwritable {
            path: self.path.clone(),
            flaw: flaw.to_string(),
        })?;
        Ok(files::replace(&self.path, &bytes)?)
    }

    /// Keeps other writers away until the lock is dropped; waits for one that is at work. Readers need no lock.
    pub(super) fn lock(&self) -> Result<Lock, KeyringError> {
        self.check_writer()?;
        Ok(files::lock(&files::with_suffix(&self.path, ".lock"))?)
    }
    /// Root must not leave files in the directory of a daemon that runs as somebody else and could not read them.
    fn check_writer(&self) -> Result<(), KeyringError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(());
        }
        let directory = files::directory_of(&self.path);
        match std::fs::metadata(directory) {
            Ok(metadata) if metadata.uid() != 0 => Err(KeyringError::Directory {
                path: directory.to_owned(),
                uid: metadata.uid(),
            }),
            // What else is wrong with it, opening the lock will say.
            _ => Ok(()),
        }
    }
}
