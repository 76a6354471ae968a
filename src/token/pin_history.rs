//! The memory of PINs, `pins.json` in the state directory: no restart spends a try on a PIN that was rejected.
//!
//! Tokens lock after a few wrong PINs, some without a warning, and a restart loop is quick. So it is written down which
//! PIN each token has rejected, as a salted PBKDF2 hash, and of one that has worked the first 8 bits of such a hash:
//! enough to know it again, too little to find it by. Beside each stands the stamp of the source that the PIN was read
//! from; an equal stamp answers at once, without the 600,000 rounds.
//!
//! The daemon and a command with a PIN of its own (`admin:`) write into one file, so every token has room for a few.

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
use crate::token::pin_history::content::Content;
use crate::token::pin_history::content::Line;
use crate::token::pin_history::content::Rejected;
use crate::token::pin_history::content::Salt;
use crate::token::pin_history::content::Worked;
use crate::token::state_file::Flaw;

/// OWASP's figure for PBKDF2-HMAC-SHA-256; a PIN has few digits, so it is only a brake.
const ROUNDS: u32 = 600_000;
/// More than 64 tokens with all that they may have.
const LIMIT: u64 = 512 * 1024;
/// PINs that worked, of one token: the daemon's, the commands', and one of each from before.
const MOST_WORKED: usize = 4;
/// PINs that were rejected, of one token.
const MOST_REJECTED: usize = 8;

/// What is known of a PIN on a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PinStatus {
    /// Nothing.
    New,
    /// Nothing, but the token has rejected another one: somebody has corrected it.
    Corrected,
    /// It has worked.
    Worked,
    /// It was rejected: another try could lock the token.
    Rejected,
    /// It was tried as often as may be without an answer; the token may have counted each of them.
    Unanswered,
}

impl PinStatus {
    /// Whether it would be tried for the first time.
    pub(crate) fn is_untried(self) -> bool {
        matches!(self, Self::New | Self::Corrected)
    }
}

/// What is wrong with the memory of PINs. None of it means that a PIN is new.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinRecordError {
    /// The file can't be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Its content is not what dekhand writes.
    #[error(
        "{path} is damaged: it says which PINs were rejected; make sure that the PIN is right, since a wrong one could \
             lock the token, and remove the file"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// Another release wrote it.
    #[error(
        "{path} has apiVersion `{found}`, and this release knows `{}`: make sure that the PIN is right, since a wrong \
             one could lock the token, and remove the file",
        content::API_VERSION
    )]
    ApiVersion {
        /// The file.
        path: PathBuf,
        /// What stands there.
        found: String,
    },
    /// No salt can be made.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl PinRecordError {
    /// Whether the file itself is the fault, so that [`PinRecord::set_aside`] helps. A disk that fails is not.
    pub(crate) fn is_the_content(&self) -> bool {
        match self {
            Self::Damaged { .. } | Self::ApiVersion { .. } | Self::File(FileError::TooLarge { .. }) => true,
            Self::File(_) | Self::NoRandomness(_) => false,
        }
    }
}

/// The memory of PINs of a state directory. A token is named by a text that stays the same, made of its label, maker and
/// serial number.
#[derive(Clone, Debug)]
pub(crate) struct PinRecord {
    path: PathBuf,
    rounds: u32,
}

impl PinRecord {
    /// The memory in a state directory; the file need not exist.
    pub(crate) fn of(state: &Path) -> Self {
        Self {
            path: state.join("pins.json"),
            rounds: ROUNDS,
        }
    }

    /// The same with few rounds.
    #[cfg(test)]
    pub(crate) fn quick(state: &Path) -> Self {
        Self {
            rounds: 2,
            ..Self::of(state)
        }
    }

    /// The file, for messages: who has unlocked a token and still has the same PIN removes it.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// What is known of a PIN; [`begin`](Self::begin) decides whether it is tried. Takes a few hundred milliseconds when
    /// the PIN's source has changed and the token is known, none otherwise.
    ///
    /// # Errors
    /// The file can't be read or is damaged. That is never "new": the next try could be the one that locks the token.
    pub(crate) fn standing(&self, token: &str, pin: &Pin) -> Result<PinStatus, PinRecordError> {
        Ok(self.judge(&self.read()?, token, pin))
    }

    fn judge(&self, content: &Content, token: &str, pin: &Pin) -> PinStatus {
        let Some(line) = content.line(token) else {
            return PinStatus::New;
        };
        // What was rejected stays rejected, whatever else stands there.
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

    /// Notes that the token has taken a PIN. On disk before this returns; writes nothing that stands there already.
    ///
    /// # Errors
    /// The file can't be read or written; the old content still stands.
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

    /// Notes that the token has rejected a PIN. On disk before this returns.
    ///
    /// # Errors
    /// The file can't be read or written; the old content still stands, and this process must remember for itself.
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

    /// Notes that the token has answered that it is locked, or the PIN expired. Such a PIN may be right: it is not tried
    /// again as long as its source is what it was, and keeps what else is known of it.
    ///
    /// # Errors
    /// As [`note_rejected`](Self::note_rejected).
    pub(crate) fn note_locked(&self, token: &str, pin: &Pin) -> Result<(), PinRecordError> {
        // Of no PIN: only the stamp counts.
        let hash = content::Hex(random_bytes()?);
        self.change(token, |line| {
            let stamp = pin.stamp.clone();
            line.begun.retain(|begun| begun.stamp != stamp);
            line.rejected.push(Rejected { hash, stamp });
            content::keep_last(&mut line.rejected, MOST_REJECTED);
        })
    }

    /// Moves a file that can't be read aside and puts an empty one into its place, so that a damaged memory costs one
    /// try of the PIN and not the daemon. Returns where the old one is.
    ///
    /// # Errors
    /// The file can't be moved, or a new one can't be written and read back: then no try may be spent, since every
    /// restart would spend another.
    pub(crate) fn set_aside(&self) -> Result<PathBuf, PinRecordError> {
        let _lock = self.lock()?;
        let aside = files::with_suffix(&self.path, ".damaged");
        match self.read() {
            // Another process was quicker.
            Ok(_) => return Ok(aside),
            Err(error) if error.is_the_content() => {}
            Err(error) => return Err(error),
        }
        std::fs::rename(&self.path, &aside).map_err(|source| FileError::Io {
            action: "set aside",
            path: self.path.clone(),
            source,
        })?;
        self.replace(Content::default())?;
        self.read()?;
        Ok(aside)
    }

    /// Changes the line of a token, and writes it.
    fn change(&self, token: &str, change: impl FnOnce(&mut Line)) -> Result<(), PinRecordError> {
        let _lock = self.lock()?;
        let mut content = self.read()?;
        content.change(token, change)?;
        self.replace(content)
    }

    // The daemon's worker and that of a command write, in two processes.
    fn lock(&self) -> Result<files::Lock, FileError> {
        files::lock(&files::with_suffix(&self.path, ".lock"))
    }

    fn read(&self) -> Result<Content, PinRecordError> {
        let bytes = match files::read_state(&self.path, LIMIT) {
            Ok(bytes) => bytes,
            Err(error) if error.is_not_found() => return Ok(Content::default()),
            Err(error) => return Err(error.into()),
        };
        match content::decode(&bytes) {
            Ok(content) => Ok(content),
            Err(Flaw::Damaged(source)) => Err(PinRecordError::Damaged {
                path: self.path.clone(),
                source,
            }),
            Err(Flaw::ApiVersion(found)) => Err(PinRecordError::ApiVersion {
                path: self.path.clone(),
                found,
            }),
        }
    }

    fn replace(&self, content: Content) -> Result<(), PinRecordError> {
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

impl Line {
    /// Drops what stood there about this PIN, or about the source that has it now.
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
