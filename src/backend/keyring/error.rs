//! What is wrong with a keyring, and what to do about it.

use std::path::PathBuf;

use crate::backend::keyring::format::Flaw;
use crate::files::FileError;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::name::RootKeyName;
use crate::secret::NoRandomness;

/// A keyring can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file is not there.
    #[error("there is no keyring {path}: restore it from a copy, or `dekhand keys create` makes the first one")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file can't be read or written, or others could.
    #[error(transparent)]
    File(#[from] FileError),
    /// The file is not what dekhand wrote.
    #[error("{path} was changed by hand or damaged ({flaw}); restore it from a copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where and how, without any word of the file.
        flaw: String,
    },
    /// The file is of a format that this release does not know.
    #[error("{path} was written by a newer release ({flaw}): this one reads v1")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Which format it has.
        flaw: String,
    },
    /// The file is another root key's.
    #[error("{path} holds the root key `{found}`, and not `{wanted}`")]
    Name {
        /// The file.
        path: PathBuf,
        /// Whose it is.
        found: RootKeyName,
        /// Whose it should be.
        wanted: RootKeyName,
    },
    /// The file is there already.
    #[error("{path} exists")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// What root would write there, the daemon could not read.
    #[error("{path} belongs to uid {uid}, who can't read what root writes: run this as that user (sudo -u '#{uid}')")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// What should be written is no good keyring.
    #[error("{path} stays as it is: what should be written is not a good keyring ({flaw})")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why not.
        flaw: String,
    },
    /// A new key needs randomness.
    #[error("no new key")]
    NoRandomness(#[from] NoRandomness),
}

impl KeyringError {
    pub(super) fn unreadable(path: PathBuf, flaw: &Flaw) -> Self {
        let (newer, flaw) = (matches!(flaw, Flaw::Newer(_)), flaw.to_string());
        if newer {
            Self::Newer { path, flaw }
        } else {
            Self::Damaged { path, flaw }
        }
    }
}

impl From<KeyringError> for Error {
    /// For commands; the daemon takes every failed read for an outage, since it goes on from memory.
    fn from(error: KeyringError) -> Self {
        let (kind, message) = match error {
            KeyringError::Missing { .. } | KeyringError::File(_) | KeyringError::NoRandomness(_) => {
                (Kind::Outage, "the keyring can't be used")
            }
            KeyringError::Damaged { .. } => (Kind::Corruption, "the keyring can't be used"),
            KeyringError::Newer { .. } | KeyringError::Name { .. } | KeyringError::Exists { .. } => {
                (Kind::Refusal, "the keyring can't be used")
            }
            KeyringError::Directory { .. } | KeyringError::Unwritable { .. } => {
                (Kind::Refusal, "the keyring can't be changed")
            }
        };
        Self::new(kind, message).because(error)
    }
}
