//! The proof record, `proofs.json` in the state directory: identifies the key that each version had at its first use
//! here.
//!
//! An id does not identify a key: an attacker who may replace an object can put another key under its id. So the record
//! has, for each version that this node has used, wraps of a random key, one for each mechanism, each with the SHA-256
//! of that key. Only the same root key opens them. The record holds no secret. For a key that only unwraps, it has the
//! wrap of a data key in use, with the SHA-256 of that data key: the wrap is in etcd too, and the hash of 32 random
//! bytes does not disclose them.
//!
//! It also lists the versions that count although their objects are public: those that existed when the records began,
//! up to the primary that this node had reported before ([`ProofLine::public`]).

mod content;

use std::path::Path;
use std::path::PathBuf;

use crate::clock::Timestamp;
use crate::files;
use crate::files::FileError;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::name::RootKeyName;
use crate::token::state_file::StateFileFlaw;

pub(crate) use content::Proof;
pub use content::ProofLine;
use content::ProofRecordContent;

/// The most bytes of the file: room for some thousands of versions.
const LIMIT: u64 = 8 << 20;
/// The most versions of one root key. None is dropped for another: an attacker who can add versions could drop records
/// that way.
const MOST_VERSIONS: usize = 1000;

/// The proof record cannot be used. None of these errors means that a version has no record.
#[derive(Debug, thiserror::Error)]
pub enum ProofRecordError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its content is not in the format that dekhand writes.
    #[error(
        "{path} is damaged: it records which key each version of a root key is; restore it. Remove it only if you are \
         sure that nobody has added or exchanged a key in the token: dekhand then records the keys that are there, and \
         public keys count up to the version that this node has reported last, and all those of root keys by which it \
         only decrypts"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// Another release wrote it.
    #[error("{path} has apiVersion `{found}`: this release supports `{}`", content::API_VERSION)]
    ApiVersion {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: String,
    },
    /// The versions have not been listed since the daemon's start, or that list could not be recorded.
    #[error("the proof records of `{0}` have not begun")]
    NotBegun(RootKeyName),
    /// There is no room for another version of the root key.
    #[error(
        "{path} has {MOST_VERSIONS} versions of `{name}`, and no other version can be used here: if nobody has \
         exchanged a key in the token, stop the daemon, keep a copy of the file and remove it; dekhand then records \
         the versions in use again"
    )]
    Full {
        /// The file.
        path: PathBuf,
        /// The root key.
        name: RootKeyName,
    },
    /// The file would be longer than the limit for reading it.
    #[error(
        "{path} would have {length} bytes, more than {LIMIT}, and no other version can be used here: if nobody \
         has exchanged a key in the token, stop the daemon, keep a copy of the file and remove it; dekhand then \
         records the versions in use again"
    )]
    TooLong {
        /// The file.
        path: PathBuf,
        /// The bytes that would be written.
        length: usize,
    },
}

/// The proof record of a state directory.
#[derive(Clone, Debug)]
pub struct ProofRecord {
    path: PathBuf,
}

impl ProofRecord {
    /// The record in a state directory; the file need not exist.
    pub fn of(state: &Path) -> Self {
        Self {
            path: state.join("proofs.json"),
        }
    }

    /// The record of a root key; `None` if its records have not begun.
    ///
    /// # Errors
    /// The file cannot be read or is damaged. That never means "none": another key would be accepted.
    pub fn read(&self, name: &RootKeyName) -> Result<Option<ProofLine>, ProofRecordError> {
        let content = self.content()?.unwrap_or_default();
        Ok(content.root_keys.into_iter().find(|line| line.name == *name))
    }

    /// Whether a version counts although its object is public.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub fn admits_public(&self, name: &RootKeyName, id: &KeyId) -> Result<bool, ProofRecordError> {
        Ok(self.read(name)?.is_some_and(|line| line.public.contains(id)))
    }

    /// Records at the start of a daemon which root keys an earlier release may have used on this node; does nothing if
    /// there is a file. A root key that joins the configuration later is new on this node. On disk before this returns.
    ///
    /// # Errors
    /// The file cannot be read or written; until then no root key counts as used before.
    pub fn note_upgrade(&self, root_keys: Vec<RootKeyName>) -> Result<(), ProofRecordError> {
        let _lock = self.lock()?;
        if self.content()?.is_some() {
            return Ok(());
        }
        self.replace(&ProofRecordContent {
            upgraded: root_keys,
            root_keys: Vec::new(),
        })
    }

    /// Whether an earlier release may have used a root key on this node without reporting a version of it.
    ///
    /// # Errors
    /// As [`read`](Self::read).
    pub(crate) fn is_upgraded(&self, name: &RootKeyName) -> Result<bool, ProofRecordError> {
        Ok(self.content()?.is_some_and(|content| content.upgraded.contains(name)))
    }

    /// Begins the records of a root key, unless they have begun. The versions of `public` count although their objects
    /// are public. On disk before this returns.
    ///
    /// # Errors
    /// The file cannot be read or written; the old content is kept.
    pub(crate) fn begin(&self, name: &RootKeyName, public: Vec<KeyId>) -> Result<(), ProofRecordError> {
        let _lock = self.lock()?;
        let mut content = self.content()?.unwrap_or_default();
        if content.root_keys.iter().any(|line| line.name == *name) {
            return Ok(());
        }
        content.root_keys.push(ProofLine {
            name: name.clone(),
            public,
            versions: Vec::new(),
        });
        self.replace(&content)
    }

    /// Records a version by its first proof. `false`: the version is recorded already, possibly as another key, and the
    /// proof is ignored. On disk before this returns.
    ///
    /// # Errors
    /// The file cannot be read or written, or the records of the root key have not begun.
    pub(crate) fn add_first(&self, name: &RootKeyName, id: &KeyId, proof: Proof) -> Result<bool, ProofRecordError> {
        self.change(name, |line| {
            let is_first = line.proofs(id).is_empty();
            if is_first {
                line.change(id, |version| version.add(proof));
            }
            is_first
        })
    }

    /// Adds a proof of a key that has opened another proof of the version, unless there is one by its mechanism. `false`: that
    /// other proof is recorded no more, and this one does not count. On disk before this returns.
    ///
    /// # Errors
    /// As [`add_first`](Self::add_first).
    pub(crate) fn add_beside(
        &self,
        name: &RootKeyName,
        id: &KeyId,
        proof: Proof,
        shown_by: &Proof,
    ) -> Result<bool, ProofRecordError> {
        self.change(name, |line| {
            let is_recorded = line.proofs(id).contains(shown_by);
            if is_recorded {
                line.change(id, |version| version.add(proof));
            }
            is_recorded
        })
    }

    /// Records that a proof is about to be made for which no call waits. If the token hangs in it and the worker is
    /// killed, the next worker must not repeat the proof. A result other than `None`: such a proof was begun at that
    /// time, less than a day ago, and has not ended. On disk before this returns.
    ///
    /// # Errors
    /// As [`add_first`](Self::add_first).
    pub(crate) fn begin_proof(
        &self,
        name: &RootKeyName,
        id: &KeyId,
        mechanism: Mechanism,
        now: Timestamp,
    ) -> Result<Option<Timestamp>, ProofRecordError> {
        self.change(name, |line| line.change(id, |version| version.begin(mechanism, now)))
    }

    /// Records that such a proof has ended without a result. [`add_beside`](Self::add_beside) ends a proof too.
    ///
    /// # Errors
    /// As [`add_first`](Self::add_first).
    pub(crate) fn end_proof(
        &self,
        name: &RootKeyName,
        id: &KeyId,
        mechanism: Mechanism,
    ) -> Result<(), ProofRecordError> {
        self.change(name, |line| line.change(id, |version| version.end(mechanism)))
    }

    /// Removes the note of a proof that was begun at this time, unless it has ended. A later note stays.
    ///
    /// # Errors
    /// As [`add_first`](Self::add_first).
    pub(crate) fn withdraw_proof(
        &self,
        name: &RootKeyName,
        id: &KeyId,
        mechanism: Mechanism,
        noted: Timestamp,
    ) -> Result<(), ProofRecordError> {
        self.change(name, |line| {
            line.change(id, |version| version.withdraw(mechanism, noted));
        })
    }

    /// Records that a version's object is private now, so that the version no longer counts as a public one. On disk
    /// before this returns.
    ///
    /// # Errors
    /// As [`add_first`](Self::add_first).
    pub(crate) fn is_private_now(&self, name: &RootKeyName, ids: &[KeyId]) -> Result<(), ProofRecordError> {
        self.change(name, |line| line.public.retain(|id| !ids.contains(id)))
    }

    /// Forgets which key a version is: the operator accepts another key. Returns whether there was a record.
    ///
    /// # Errors
    /// The file cannot be read or written; the old content is kept.
    pub fn forget(&self, name: &RootKeyName, id: &KeyId) -> Result<bool, ProofRecordError> {
        let known = |line: &ProofLine| line.has(id) || line.public.contains(id);
        // A file that is not there is not made for this.
        if !self.read(name)?.is_some_and(|line| known(&line)) {
            return Ok(false);
        }
        self.change(name, |line| {
            line.public.retain(|public| public != id);
            line.versions.retain(|version| version.id != *id);
        })?;
        Ok(true)
    }

    fn change<T>(&self, name: &RootKeyName, change: impl FnOnce(&mut ProofLine) -> T) -> Result<T, ProofRecordError> {
        let _lock = self.lock()?;
        let mut content = self.content()?.unwrap_or_default();
        let line = content.root_keys.iter_mut().find(|line| line.name == *name);
        let line = line.ok_or_else(|| ProofRecordError::NotBegun(name.clone()))?;
        let before = line.clone();
        let done = change(line);
        if *line == before {
            return Ok(done);
        }
        if line.versions.len() > MOST_VERSIONS {
            let (path, name) = (self.path.clone(), name.clone());
            return Err(ProofRecordError::Full { path, name });
        }
        self.replace(&content)?;
        Ok(done)
    }

    // The daemon's worker adds records and `keys accept-loss` removes them, from two processes.
    fn lock(&self) -> Result<files::Lock, FileError> {
        files::lock(&files::with_suffix(&self.path, ".lock"))
    }

    /// `None` if there is no file.
    fn content(&self) -> Result<Option<ProofRecordContent>, ProofRecordError> {
        let bytes = match files::read_state(&self.path, LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(None),
            Err(error) => return Err(error.into()),
        };
        let path = || self.path.clone();
        content::decode(&bytes).map(Some).map_err(|flaw| match flaw {
            StateFileFlaw::Damaged(source) => ProofRecordError::Damaged { path: path(), source },
            StateFileFlaw::ApiVersion(found) => ProofRecordError::ApiVersion { path: path(), found },
        })
    }

    fn replace(&self, content: &ProofRecordContent) -> Result<(), ProofRecordError> {
        let bytes = content::encode(content).map_err(|source| ProofRecordError::Damaged {
            path: self.path.clone(),
            source,
        })?;
        if bytes.len() as u64 > LIMIT {
            let (path, length) = (self.path.clone(), bytes.len());
            return Err(ProofRecordError::TooLong { path, length });
        }
        Ok(files::replace(&self.path, &bytes)?)
    }
}

#[cfg(test)]
mod tests;
