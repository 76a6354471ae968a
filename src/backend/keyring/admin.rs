//! Makes, dates and destroys versions in a keyring file, for `dekhand keys`.

use async_trait::async_trait;

use crate::backend::keyring::KeyringOptions;
use crate::backend::keyring::content::KeyringContent;
use crate::backend::keyring::content::KeyringEntry;
use crate::backend::keyring::content::Origin;
use crate::backend::keyring::error::KeyringError;
use crate::backend::keyring::file::KeyringFile;
use crate::files::Lock;
use crate::root_key::Admin;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::secret::Key;

/// Changes a keyring: reads it, changes it and replaces it under a lock, so that concurrent writers lose nothing.
///
/// Its calls block on the disk, so it is only for commands, which have no callers to serve.
#[derive(Debug)]
pub struct KeyringAdmin {
    file: KeyringFile,
    held: Option<Lock>,
}

impl KeyringAdmin {
    /// The keyring of a root key. Each change takes the lock anew.
    pub fn new(options: &KeyringOptions, name: RootKeyName) -> Self {
        Self {
            file: KeyringFile::new(options, name),
            held: None,
        }
    }

    /// As [`KeyringAdmin::new`], with the lock held until this is dropped, so that a version that was looked up cannot
    /// change before it is acted upon.
    ///
    /// # Errors
    /// The lock file cannot be created.
    pub fn exclusive(options: &KeyringOptions, name: RootKeyName) -> Result<Self, KeyringError> {
        let file = KeyringFile::new(options, name);
        let held = Some(file.lock()?);
        Ok(Self { file, held })
    }

    /// The file.
    pub fn file(&self) -> &KeyringFile {
        &self.file
    }

    /// Creates the file, without versions.
    ///
    /// # Errors
    /// The file exists, valid or not, or cannot be created.
    pub fn create_file(&self) -> Result<(), KeyringError> {
        let _lock = self.lock()?;
        self.file.create()
    }

    fn lock(&self) -> Result<Option<Lock>, KeyringError> {
        match self.held {
            Some(_) => Ok(None),
            None => self.file.lock().map(Some),
        }
    }

    fn change<T>(&self, change: impl FnOnce(&mut KeyringContent) -> Result<T, Error>) -> Result<T, Error> {
        let _lock = self.lock()?;
        let mut content = self.file.read()?;
        let result = change(&mut content)?;
        self.file.replace(&content)?;
        Ok(result)
    }

    fn add(&self, version: Version, origin: Origin, key: Key) -> Result<Version, Error> {
        self.change(|content| {
            if let Some(twin) = content.entries.iter().find(|entry| entry.key.same_as(&key)) {
                let Version { number, id, .. } = &twin.version;
                return Err(Error::new(
                    Kind::Refusal,
                    format!("the keyring has this key already, as {number} (id {id})"),
                ));
            }
            content.entries.push(KeyringEntry {
                version: version.clone(),
                origin,
                key,
            });
            Ok(version)
        })
    }
}

#[async_trait]
impl Admin for KeyringAdmin {
    async fn versions(&self) -> Result<Vec<Version>, Error> {
        Ok(self.file.read()?.versions())
    }

    async fn generate(&self, number: Number, state: State) -> Result<Version, Error> {
        let key = Key::random().map_err(KeyringError::from)?;
        let id = KeyId::random().map_err(KeyringError::from)?;
        self.add(Version { number, state, id }, Origin::Generated, key)
    }

    async fn import(&self, number: Number, state: State, key: Key) -> Result<Version, Error> {
        let id = KeyId::random().map_err(KeyringError::from)?;
        self.add(Version { number, state, id }, Origin::Imported, key)
    }

    async fn relabel(&self, id: &KeyId, state: State) -> Result<(), Error> {
        self.change(|content| {
            let entry = content.entries.iter_mut().find(|entry| entry.version.id == *id);
            entry.ok_or_else(|| Error::missing(id))?.version.state = state;
            Ok(())
        })
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), Error> {
        self.change(|content| {
            let place = content.entries.iter().position(|entry| entry.version.id == *id);
            content.entries.remove(place.ok_or_else(|| Error::missing(id))?);
            Ok(())
        })
    }
}

#[cfg(test)]
mod tests;
