//! Unwraps that failed with an error that a bad ciphertext can cause: what canaries and repetitions have shown.

use std::sync::Mutex;
use std::time::Duration;

use crate::backend::pkcs11::worker::canary::CANARY_GAP;
use crate::backend::pkcs11::worker::canary::Canaries;
use crate::backend::pkcs11::worker::mutex::lock;
use crate::clock::Clock;

/// The verdict about an unwrap that has failed again after its canary has opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SuspectVerdict {
    /// The ciphertext is bad.
    Bad,
    /// The token does not unwrap by this mechanism under this version.
    NotDone,
    /// Another unwrap that failed alike has opened meanwhile: a throttled token refuses good ones too. The next canary
    /// must decide.
    AskAgain,
}

/// The canaries, and the repetitions of unwraps in doubt.
pub(super) struct Suspects {
    clock: Clock,
    canaries: Canaries,
    /// The last time that an unwrap in doubt opened at its repetition.
    opened_again: Mutex<Option<Duration>>,
}

impl Suspects {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            canaries: Canaries::default(),
            opened_again: Mutex::default(),
        }
    }

    pub(super) fn canaries(&self) -> &Canaries {
        &self.canaries
    }

    /// An unwrap in doubt has opened at its repetition.
    pub(super) fn note_opened_again(&self) {
        *lock(&self.opened_again) = Some(self.clock.boottime());
    }

    /// Judges an unwrap that has failed again. `refused`: with an error of a missing permission; `elsewhere`: only a
    /// canary of another version has opened for it.
    pub(super) fn judge(&self, refused: bool, elsewhere: bool) -> SuspectVerdict {
        if refused && elsewhere {
            return SuspectVerdict::NotDone;
        }
        let opened = *lock(&self.opened_again);
        if opened.is_some_and(|opened| self.clock.boottime().saturating_sub(opened) < 2 * CANARY_GAP) {
            SuspectVerdict::AskAgain
        } else {
            SuspectVerdict::Bad
        }
    }
}
