//! Root keys in a file: for trying dekhand out, for single nodes, and for nodes that each have a copy.

pub mod admin;
mod content;
pub mod digest;
pub mod error;
pub mod file;
pub mod format;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use async_trait::async_trait;

use crate::backend::keyring::content::KeyringContent;
use crate::backend::keyring::content::KeyringEntry;
use crate::backend::keyring::file::KeyringFile;
use crate::crypto::aes_gcm::AesGcm;
use crate::crypto::aes_gcm::NONCE;
use crate::files::io_thread::FileThread;
use crate::root_key::RootKey;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Version;
use crate::root_key::waiters::Waiters;
use crate::secret::Key;
use crate::secret::random_bytes;

/// The options of a keyring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringOptions {
    /// The keyring file.
    pub file: PathBuf,
}

/// The daemon's side of a keyring: each listing reads the file; wrap and unwrap use the keys in memory.
///
/// It never writes or creates the file: a lost keyring must not be silently replaced by a new key.
#[derive(Clone, Debug)]
pub struct Keyring {
    file: KeyringFile,
    files: FileThread,
    snapshot: Arc<Mutex<Snapshot>>,
}

/// The content of the file as of the last read.
#[derive(Debug)]
enum Snapshot {
    /// No read has succeeded yet; ends with the first successful read.
    Unread,
    /// The last read succeeded.
    Fresh(Arc<KeyringContent>),
    /// The last read failed with this error. The content of the last successful read stays, for unwrapping only.
    Stale(Arc<KeyringContent>, Error),
}

impl Keyring {
    /// The keyring of one root key. Nothing is read before the first [`RootKey::discover`].
    pub fn new(options: &KeyringOptions, name: RootKeyName, files: FileThread) -> Self {
        Self {
            file: KeyringFile::new(options, name),
            files,
            snapshot: Arc::new(Mutex::new(Snapshot::Unread)),
        }
    }

    /// Reads the file into the snapshot. Runs on the file thread, so that the snapshots have the order of the reads.
    fn read(file: &KeyringFile, snapshot: &Mutex<Snapshot>) -> Result<Vec<Version>, Error> {
        let read = file.read();
        let mut snapshot = snapshot.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            Ok(content) => {
                let versions = content.versions();
                *snapshot = Snapshot::Fresh(Arc::new(content));
                Ok(versions)
            }
            Err(cause) => {
                let error = Error::new(Kind::Outage, "the keyring cannot be read").because(cause);
                let old = std::mem::replace(&mut *snapshot, Snapshot::Unread);
                *snapshot = match old {
                    Snapshot::Unread => Snapshot::Unread,
                    Snapshot::Fresh(content) | Snapshot::Stale(content, _) => Snapshot::Stale(content, error.clone()),
                };
                Err(error)
            }
        }
    }

    fn snapshot(&self) -> MutexGuard<'_, Snapshot> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RootKey for Keyring {
    async fn discover(&self) -> Result<Vec<Version>, Error> {
        let (file, snapshot) = (self.file.clone(), Arc::clone(&self.snapshot));
        let job = move || Self::read(&file, &snapshot);
        self.files
            .run(job)
            .await
            .map_err(|stopped| Error::new(Kind::Outage, "the keyring cannot be read").because(stopped))?
    }

    async fn wrap(&self, id: &KeyId, data_key: &Key, _: &Waiters) -> Result<Wrapped, Error> {
        let content = match &*self.snapshot() {
            Snapshot::Unread => return Err(unread()),
            // The key may be on no disk any more, so no new data may be encrypted under it.
            Snapshot::Stale(_, error) => return Err(error.clone()),
            Snapshot::Fresh(content) => Arc::clone(content),
        };
        let entry = serving(&content, id)?;
        let iv =
            random_bytes::<NONCE>().map_err(|error| Error::new(Kind::Outage, "cannot make an IV").because(error))?;
        let sealed = AesGcm::new(&entry.key)
            .seal(&iv, &Mechanism::AesGcm.wrap_associated_data(id), data_key.expose())
            .map_err(|error| Error::new(Kind::Corruption, "a data key cannot be wrapped").because(error))?;
        Ok(Wrapped {
            mechanism: Mechanism::AesGcm,
            bytes: [iv.as_slice(), &sealed].concat(),
        })
    }

    async fn unwrap(&self, id: &KeyId, wrapped: &Wrapped, _: &Waiters) -> Result<Key, Error> {
        let content = match &*self.snapshot() {
            Snapshot::Unread => return Err(unread()),
            Snapshot::Fresh(content) | Snapshot::Stale(content, _) => Arc::clone(content),
        };
        let entry = serving(&content, id)?;
        // GCM in software: a failure to open is proof. No key of a keyring wraps by another mechanism.
        let bad = || Error::bad_wrap(id);
        if wrapped.mechanism != Mechanism::AesGcm {
            return Err(bad());
        }
        let (iv, sealed) = wrapped.bytes.split_first_chunk::<NONCE>().ok_or_else(bad)?;
        let opened = AesGcm::new(&entry.key)
            .open(iv, &Mechanism::AesGcm.wrap_associated_data(id), sealed)
            .map_err(|_| bad())?;
        Key::copied_from(&opened).ok_or_else(bad)
    }
}

fn unread() -> Error {
    Error::new(Kind::Outage, "the keyring was not read yet")
}

/// The version of an id, unless it is retired.
fn serving<'a>(content: &'a KeyringContent, id: &KeyId) -> Result<&'a KeyringEntry, Error> {
    let entry = content.entry(id).ok_or_else(|| Error::missing(id))?;
    if entry.version.state.decrypts() {
        Ok(entry)
    } else {
        Err(Error::retired(&entry.version))
    }
}

#[cfg(test)]
mod tests;
