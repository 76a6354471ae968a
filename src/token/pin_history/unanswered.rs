//! Logins without a verdict: after a hang of the token or the death of the process, it is unknown whether the PIN is
//! right.
//!
//! Such a login may have cost an attempt, so each is counted before it begins, in the step that decides whether it is
//! allowed. Logins with a PIN that has worked are not counted: a token that is unavailable for a day must not end in a
//! refusal.

use std::time::Duration;
use std::time::Instant;

use sha2::Digest as _;
use sha2::Sha256;

use crate::files;
use crate::files::FileError;
use crate::files::Lock;
use crate::token::pin::Pin;
use crate::token::pin_history::PinRecord;
use crate::token::pin_history::PinRecordError;
use crate::token::pin_history::PinStatus;
use crate::token::pin_history::content;
use crate::token::pin_history::content::BegunLogin;
use crate::token::pin_history::first_bits;

/// The most logins without a verdict for one PIN: one less than the number of wrong PINs that locks the strictest
/// tokens.
const MOST_LOGINS: u8 = 2;
/// The most PINs of one token; beyond that the oldest is dropped.
const MOST_BEGUN: usize = 8;
/// The lock is tried again after this time while another process holds it.
const BETWEEN_LOOKS: Duration = Duration::from_millis(20);

/// The exclusive right to log in to a token with an unproven PIN. Ends on drop, and with the process.
#[derive(Debug)]
pub(crate) struct Turn {
    _lock: Lock,
}

impl PinRecord {
    /// Waits until no other process logs in to this token with an unproven PIN: the outcome of that login decides about
    /// the same PIN. `None` if it takes longer than `patience`.
    ///
    /// # Errors
    /// The lock cannot be taken. The PIN must not be tried then.
    pub(crate) fn turn(&self, token: &str, patience: Duration) -> Result<Option<Turn>, PinRecordError> {
        // One file for each token, so that a hanging token does not block the others.
        let [a, b, c, d, ..] = <[u8; 32]>::from(Sha256::digest(token));
        let file = files::with_suffix(&self.path, &format!(".{}.lock", hex::encode([a, b, c, d])));
        let begun = Instant::now();
        loop {
            match files::try_lock(&file) {
                Ok(lock) => return Ok(Some(Turn { _lock: lock })),
                Err(FileError::Locked { .. }) if begun.elapsed() < patience => std::thread::sleep(BETWEEN_LOOKS),
                Err(FileError::Locked { .. }) => return Ok(None),
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Judges a PIN that is about to be tried and, if it is unproven, counts the login, in one step: of any number of
    /// processes at most [`MOST_LOGINS`] may try it. On disk before this returns. The outcome of the login removes the
    /// count ([`note_worked`](Self::note_worked), [`note_rejected`](Self::note_rejected)).
    ///
    /// # Errors
    /// The login cannot be counted. The PIN must not be tried then, because every restart would try it.
    pub(crate) fn begin(&self, token: &str, pin: &Pin) -> Result<PinStatus, PinRecordError> {
        let _lock = self.lock()?;
        let mut content = self.read()?;
        let status = self.judge(&content, token, pin);
        if !status.is_untried() {
            return Ok(status);
        }
        content.change(token, |line| {
            let hash = self.hash(&line.salt, pin);
            let known = line.begun.iter().position(|begun| begun.is_of(pin, &hash));
            let before = known.map_or(0, |place| line.begun.remove(place).logins);
            line.begun.push(BegunLogin {
                bits: first_bits(&hash),
                stamp: pin.stamp.clone(),
                logins: before.saturating_add(1),
            });
            content::keep_last(&mut line.begun, MOST_BEGUN);
        })?;
        self.replace(content)?;
        Ok(status)
    }

    /// Records that the token has not checked the PIN in the login that was begun last, so that the login does not
    /// count.
    ///
    /// # Errors
    /// The file cannot be written: the login still counts.
    pub(crate) fn note_not_judged(&self, token: &str, pin: &Pin) -> Result<(), PinRecordError> {
        let _lock = self.lock()?;
        let mut content = self.read()?;
        let is_known = |begun: &BegunLogin| begun.stamp == pin.stamp;
        if !content.line(token).is_some_and(|line| line.begun.iter().any(is_known)) {
            return Ok(());
        }
        content.change(token, |line| {
            for begun in line.begun.iter_mut().filter(|begun| is_known(begun)) {
                begun.logins = begun.logins.saturating_sub(1);
            }
            line.begun.retain(|begun| begun.logins > 0);
        })?;
        self.replace(content)
    }
}

impl BegunLogin {
    /// Whether the PIN has used up its logins.
    pub(super) fn is_enough(&self) -> bool {
        self.logins >= MOST_LOGINS
    }

    /// Whether the entry is about this PIN. A touched file begins anew. A source that every start makes anew does not,
    /// or a restart loop would spend two attempts each time. One other PIN in 256 is taken for the same.
    pub(super) fn is_of(&self, pin: &Pin, hash: &[u8; 32]) -> bool {
        self.stamp == pin.stamp || pin.made_anew && self.bits == first_bits(hash)
    }
}
