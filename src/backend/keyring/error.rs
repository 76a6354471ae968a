//! The errors of keyrings, with what to do about them.

use std::path::PathBuf;

use crate::backend::keyring::format::KeyringFlaw;
use crate::files::FileError;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::name::RootKeyName;
use crate::secret::NoRandomness;

/// A keyring cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// The file does not exist.
    #[error("there is no keyring {path}: restore it from a copy, or run `dekhand keys create` to make the first one")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// The file cannot be read or written, or other users can.
    #[error(transparent)]
    File(#[from] FileError),
    /// The content is not as dekhand wrote it.
    #[error("{path} was changed by hand or damaged ({flaw}); restore it from a copy")]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The place and kind of the damage, without any text of the file.
        flaw: String,
    },
    /// The format of the file is newer than this release.
    #[error("{path} was written by a newer release ({flaw}): this one reads v1")]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        flaw: String,
    },
    /// The file is the keyring of another root key.
    #[error("{path} holds the root key `{found}`, and not `{wanted}`")]
    Name {
        /// The file.
        path: PathBuf,
        /// The root key of the file.
        found: RootKeyName,
        /// The root key of the configuration.
        wanted: RootKeyName,
    },
    /// The file exists already.
    #[error("{path} exists")]
    Exists {
        /// The file.
        path: PathBuf,
    },
    /// The daemon could not read files that root writes there.
    #[error("{path} belongs to uid {uid}, which cannot read root's files: run this as that user (sudo -u '#{uid}')")]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Its owner.
        uid: u32,
    },
    /// The new content would not be a valid keyring.
    #[error("{path} was not changed: the new content would not be a valid keyring ({flaw})")]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// What is invalid.
        flaw: String,
    },
    /// A new key needs randomness.
    #[error("cannot make a new key")]
    NoRandomness(#[from] NoRandomness),
}

impl KeyringError {
    pub(super) fn unreadable(path: PathBuf, flaw: &KeyringFlaw) -> Self {
        let (newer, flaw) = (matches!(flaw, KeyringFlaw::Newer(_)), flaw.to_string());
        if newer {
            Self::Newer { path, flaw }
        } else {
            Self::Damaged { path, flaw }
        }
    }
}

impl From<KeyringError> for Error {
    /// For commands. The daemon treats every failed read as an outage, since it continues from memory.
    fn from(error: KeyringError) -> Self {
        let (kind, message) = match error {
            KeyringError::Missing { .. } | KeyringError::File(_) | KeyringError::NoRandomness(_) => {
                (Kind::Outage, "the keyring cannot be used")
            }
            KeyringError::Damaged { .. } => (Kind::Corruption, "the keyring cannot be used"),
            KeyringError::Newer { .. } | KeyringError::Name { .. } | KeyringError::Exists { .. } => {
                (Kind::Refusal, "the keyring cannot be used")
            }
            KeyringError::Directory { .. } | KeyringError::Unwritable { .. } => {
                (Kind::Refusal, "the keyring cannot be changed")
            }
        };
        Self::new(kind, message).because(error)
    }
}
