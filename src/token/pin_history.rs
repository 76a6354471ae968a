//! The record of PINs, `pins.json` in the state directory: after a restart, no attempt is spent on a rejected PIN.
//!
//! Tokens lock after a few wrong PINs, some without a warning, and a restart loop is fast. So the record has, for each
//! token, the PINs that it has rejected, as salted PBKDF2 hashes. Of a PIN that has worked it has the first 8 bits of
//! such a hash: enough to recognise the PIN, too little to guess it. Each hash has the stamp of the source that the PIN
//! was read from; an equal stamp saves the 600,000 rounds.
//!
//! The daemon and a command with a PIN of its own (`admin:`) share the file, so it has room for several PINs of a
//! token.

mod content;
pub(crate) mod unanswered;

use std::path::Path;
use std::path::PathBuf;

use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::files;
use crate::files::FileError;
use crate::secret::NoRandomness;
use crate::secret::random_bytes;
use crate::token::pin::Pin;
use crate::token::pin_history::content::PinHistoryContent;
use crate::token::pin_history::content::PinLine;
use crate::token::pin_history::content::Rejected;
use crate::token::pin_history::content::Salt;
use crate::token::pin_history::content::Worked;
use crate::token::state_file::StateFileFlaw;

/// OWASP's figure for PBKDF2-HMAC-SHA-256. A PIN has few digits, so this only slows down a search.
const ROUNDS: u32 = 600_000;
/// More than 64 tokens need, with the most PINs each.
const LIMIT: u64 = 512 * 1024;
/// The most PINs that worked, of one token: the daemon's, the commands', and the previous one of each.
const MOST_WORKED: usize = 4;
/// The most PINs that were rejected, of one token.
const MOST_REJECTED: usize = 8;

/// The status of a PIN on a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinStatus {
    /// Unproven: nothing is known of it.
    New,
    /// Unproven, but it replaces a PIN that the token has rejected.
    Corrected,
    /// It has worked.
    Worked,
    /// It was rejected: another attempt could lock the token.
    Rejected,
    /// It has used up its logins without a verdict; the token may have counted each of them as a wrong PIN.
    Unanswered,
}

impl PinStatus {
    /// Whether it is unproven: it has neither worked nor been rejected.
    pub(crate) fn is_untried(self) -> bool {
        matches!(self, Self::New | Self::Corrected)
    }
}

/// The record of PINs cannot be used. None of these errors means that a PIN is new.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinRecordError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its content is not in the format that dekhand writes.
    #[error(
        "{path}, the record of rejected PINs, is damaged: make sure that the PIN is right, because a wrong one could \
             lock the token, and remove the file"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The parser's error.
        source: serde_json::Error,
    },
    /// Another release wrote it.
    #[error(
        "{path} has apiVersion `{found}`, and this release supports `{}`: make sure that the PIN is right, because a \
             wrong one could lock the token, and remove the file",
        content::API_VERSION
    )]
    ApiVersion {
        /// The file.
        path: PathBuf,
        /// The version in the file.
        found: String,
    },
    /// No salt can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl PinRecordError {
    /// Whether the content of the file is at fault, so that [`PinRecord::set_aside`] helps. It does not help if the
    /// disk fails.
    pub(crate) fn is_the_content(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::ApiVersion { .. } | Self::File(FileError::TooLarge { .. }) => true,
            Self::File(_) | Self::NoRandomness(_) => false,
        }
    }
}

/// The record of PINs of a state directory. A token is identified by its label, manufacturer and serial number, which
/// do not change.
#[derive(Clone, Debug)]
pub(crate) struct PinRecord {
    path: PathBuf,
    rounds: u32,
}

impl PinRecord {
    /// The record in a state directory; the file need not exist.
    pub(crate) fn of(state: &Path) -> Self {
        Self {
            path: state.join("pins.json"),
            rounds: ROUNDS,
        }
    }

    /// The same, with few rounds.
    #[cfg(test)]
    pub(crate) fn quick(state: &Path) -> Self {
        Self {
            rounds: 2,
            ..Self::of(state)
        }
    }

    /// The file, for messages. An operator removes it after unlocking a token whose PIN stays the same.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The status of a PIN; [`begin`](Self::begin) decides whether it is tried. Takes a few hundred milliseconds if the
    /// PIN's source has changed and the token is in the record, and almost no time otherwise.
    ///
    /// # Errors
    /// The file cannot be read or is damaged. That never means "new": the next attempt could be the one that locks the
    /// token.
    pub(crate) fn status(&self, token: &str, pin: &Pin) -> Result<PinStatus, PinRecordError> {
        Ok(self.judge(&self.read()?, token, pin))
    }

    fn judge(&self, content: &PinHistoryContent, token: &str, pin: &Pin) -> PinStatus {
        let Some(line) = content.line(token) else {
            return PinStatus::New;
        };
        // A rejected PIN stays rejected, whatever else the record has.
        if line.rejected.iter().any(|rejected| rejected.stamp == pin.stamp) {
            return PinStatus::Rejected;
        }
        if line.worked.iter().any(|worked| worked.stamp == pin.stamp) {
            return PinStatus::Worked;
        }
        if line
            .begun
            .iter()
            .any(|begun| begun.stamp == pin.stamp && begun.is_enough())
        {
            return PinStatus::Unanswered;
        }
        let hash = self.hash(&line.salt, pin);
        if line.rejected.iter().any(|rejected| is_of(rejected, &hash)) {
            PinStatus::Rejected
        } else if line.worked.iter().any(|worked| worked.bits == first_bits(&hash)) {
            PinStatus::Worked
        } else if line
            .begun
            .iter()
            .any(|begun| begun.is_of(pin, &hash) && begun.is_enough())
        {
            PinStatus::Unanswered
        } else if line.rejected.is_empty() {
            PinStatus::New
        } else {
            PinStatus::Corrected
        }
    }

    /// Records that the token has accepted a PIN. On disk before this returns; writes nothing if the record is
    /// unchanged.
    ///
    /// # Errors
    /// The file cannot be read or written; the old content is kept.
    pub(crate) fn note_worked(&self, token: &str, pin: &Pin) -> Result<(), PinRecordError> {
        let _lock = self.lock()?;
        let mut content = self.read()?;
        let known = content.line(token).is_some_and(|line| {
            line.worked.iter().any(|worked| worked.stamp == pin.stamp)
                && line.rejected.iter().all(|rejected| rejected.stamp != pin.stamp)
                && line.begun.iter().all(|begun| begun.stamp != pin.stamp)
        });
        if known {
            return Ok(());
        }
        content.change(token, |line| {
            let hash = self.hash(&line.salt, pin);
            let bits = first_bits(&hash);
            line.forget(pin, &hash);
            let stamp = pin.stamp.clone();
            line.worked.push(Worked { bits, stamp });
            content::keep_last(&mut line.worked, MOST_WORKED);
        })?;
        self.replace(content)
    }

    /// Records that the token has rejected a PIN. On disk before this returns.
    ///
    /// # Errors
    /// The file cannot be read or written; the old content is kept, and this process must remember the rejection
    /// itself.
    pub(crate) fn note_rejected(&self, token: &str, pin: &Pin) -> Result<(), PinRecordError> {
        self.change(token, |line| {
            let hash = self.hash(&line.salt, pin);
            line.forget(pin, &hash);
            line.rejected.push(Rejected {
                hash: content::Hex(*hash),
                stamp: pin.stamp.clone(),
            });
            content::keep_last(&mut line.rejected, MOST_REJECTED);
        })
    }

    /// Records that the token has reported that it is locked or that the PIN has expired. Such a PIN may be right: it
    /// is not tried again until its source changes, and the rest of its record stays.
    ///
    /// # Errors
    /// As [`note_rejected`](Self::note_rejected).
    pub(crate) fn note_locked(&self, token: &str, pin: &Pin) -> Result<(), PinRecordError> {
        // The hash of no PIN: only the stamp counts.
        let hash = content::Hex(random_bytes()?);
        self.change(token, |line| {
            let stamp = pin.stamp.clone();
            line.begun.retain(|begun| begun.stamp != stamp);
            line.rejected.push(Rejected { hash, stamp });
            content::keep_last(&mut line.rejected, MOST_REJECTED);
        })
    }

    /// Moves a damaged file aside and writes an empty one in its place. So a damaged record costs one attempt of the
    /// PIN, and does not stop the daemon. Returns the new path of the old file.
    ///
    /// # Errors
    /// The file cannot be moved, or a new one cannot be written and read back. Then no attempt may be spent, because
    /// every restart would spend another.
    pub(crate) fn set_aside(&self) -> Result<PathBuf, PinRecordError> {
        let _lock = self.lock()?;
        let aside = files::with_suffix(&self.path, ".damaged");
        match self.read() {
            // Another process has moved it already.
            Ok(_) => return Ok(aside),
            Err(error) if error.is_the_content() => {}
            Err(error) => return Err(error),
        }
        std::fs::rename(&self.path, &aside).map_err(|source| FileError::Io {
            action: "set aside",
            path: self.path.clone(),
            source,
        })?;
        self.replace(PinHistoryContent::default())?;
        self.read()?;
        Ok(aside)
    }

    /// Changes the entry of a token, and writes the file.
    fn change(&self, token: &str, change: impl FnOnce(&mut PinLine)) -> Result<(), PinRecordError> {
        let _lock = self.lock()?;
        let mut content = self.read()?;
        content.change(token, change)?;
        self.replace(content)
    }

    // The daemon's worker and a command's worker write to the file, from two processes.
    fn lock(&self) -> Result<files::Lock, FileError> {
        files::lock(&files::with_suffix(&self.path, ".lock"))
    }

    fn read(&self) -> Result<PinHistoryContent, PinRecordError> {
        let bytes = match files::read_state(&self.path, LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(PinHistoryContent::default()),
            Err(error) => return Err(error.into()),
        };
        match content::decode(&bytes) {
            Ok(content) => Ok(content),
            Err(StateFileFlaw::Damaged(source)) => Err(PinRecordError::Damaged {
                path: self.path.clone(),
                source,
            }),
            Err(StateFileFlaw::ApiVersion(found)) => Err(PinRecordError::ApiVersion {
                path: self.path.clone(),
                found,
            }),
        }
    }

    fn replace(&self, content: PinHistoryContent) -> Result<(), PinRecordError> {
        let bytes = content::encode(content).map_err(|source| PinRecordError::Damaged {
            path: self.path.clone(),
            source,
        })?;
        Ok(files::replace(&self.path, &bytes)?)
    }

    fn hash(&self, salt: &Salt, pin: &Pin) -> Zeroizing<[u8; 32]> {
        let mut hash = Zeroizing::new([0; 32]);
        pbkdf2::pbkdf2_hmac::<sha2::Sha256>(pin.bytes.expose(), &salt.0, self.rounds, hash.as_mut_slice());
        hash
    }
}

impl PinLine {
    /// Drops the entries of this PIN, and of its source.
    fn forget(&mut self, pin: &Pin, hash: &[u8; 32]) {
        let Self {
            worked,
            rejected,
            begun,
            ..
        } = self;
        worked.retain(|worked| worked.stamp != pin.stamp && worked.bits != first_bits(hash));
        rejected.retain(|rejected| rejected.stamp != pin.stamp && !is_of(rejected, hash));
        begun.retain(|begun| begun.stamp != pin.stamp && begun.bits != first_bits(hash));
    }
}

fn is_of(rejected: &Rejected, hash: &[u8; 32]) -> bool {
    rejected.hash.0.ct_eq(hash).into()
}

fn first_bits(hash: &[u8; 32]) -> u8 {
    let [first, ..] = hash;
    *first
}

#[cfg(test)]
mod tests;
