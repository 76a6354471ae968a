//! The keyring file of one root key: read and replaced as a whole, by one writer at a time.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use crate::backend::keyring::KeyringOptions;
use crate::backend::keyring::content::KeyringContent;
use crate::backend::keyring::content::KeyringEntry;
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

/// The path of a keyring, and the root key to which it must belong.
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

    /// The path of the file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Whether the file exists, valid or not.
    ///
    /// # Errors
    /// The directory cannot be read.
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

    /// Creates the keyring with a first version, active from `now` on, unless the file exists: for `serve --dev` alone.
    /// A configured daemon never creates one, since a lost file must not be replaced by a new key.
    ///
    /// # Errors
    /// The file cannot be created. An existing file is never changed.
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
        let mut content = KeyringContent::empty(self.name.clone());
        content.entries.push(KeyringEntry {
            version: version.clone(),
            origin: Origin::Generated,
            key: Key::random()?,
        });
        self.replace(&content)?;
        Ok(Some(version))
    }

    /// Creates the keyring without versions.
    ///
    /// # Errors
    /// The file exists, valid or not, or cannot be created.
    pub(super) fn create(&self) -> Result<(), KeyringError> {
        if self.exists()? {
            return Err(KeyringError::Exists {
                path: self.path.clone(),
            });
        }
        self.replace(&KeyringContent::empty(self.name.clone()))
    }

    pub(super) fn read(&self) -> Result<KeyringContent, KeyringError> {
        let bytes = files::read_secret(&self.path, format::LARGEST);
        let (bytes, _) = bytes.map_err(|error| {
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

    /// Writes new content. The caller holds the lock and has read the old content under it, so a file that cannot be
    /// read is never overwritten.
    pub(super) fn replace(&self, content: &KeyringContent) -> Result<(), KeyringError> {
        let bytes = format::encode(content).map_err(|flaw| KeyringError::Unwritable {
            path: self.path.clone(),
            flaw: flaw.to_string(),
        })?;
        Ok(files::replace(&self.path, &bytes)?)
    }

    /// Locks out other writers until the lock is dropped. Waits for another writer to finish. Readers need no lock.
    pub(super) fn lock(&self) -> Result<Lock, KeyringError> {
        self.check_writer()?;
        Ok(files::lock(&files::with_suffix(&self.path, ".lock"))?)
    }
    /// Root must not leave files in the directory of a daemon that runs as another user and could not read them.
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
            // Other faults of the directory show when the lock is opened.
            _ => Ok(()),
        }
    }
}
