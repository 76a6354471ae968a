//! When the token last worked: a token that has just worked is overloaded rather than broken.

use std::sync::Mutex;
use std::time::Duration;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::worker::canary::CANARY_GAP;
use crate::backend::pkcs11::worker::mutex::lock;
use crate::clock::Clock;
use crate::token::error::TokenError;
use crate::token::return_value::ReturnValue;

/// The last successes, by [`Clock::boottime`].
pub(super) struct Activity {
    clock: Clock,
    /// Of any unwrap.
    opened: Mutex<Option<Duration>>,
    /// Of any wrap or unwrap.
    worked: Mutex<Option<Duration>>,
}

impl Activity {
    pub(super) fn new(clock: Clock) -> Self {
        Self {
            clock,
            opened: Mutex::default(),
            worked: Mutex::default(),
        }
    }

    /// A call has succeeded. An answer alone does not show that the token works.
    pub(super) fn note(&self, call: &Call) {
        let now = Some(self.clock.boottime());
        let opens = matches!(call, Call::Unwrap { .. });
        if opens {
            *lock(&self.opened) = now;
        }
        if opens || matches!(call, Call::Wrap { .. }) {
            *lock(&self.worked) = now;
        }
    }

    /// Whether the token has wrapped or unwrapped in the last second.
    pub(super) fn has_just_worked(&self) -> bool {
        self.is_recent(&self.worked)
    }

    /// Whether an unwrap, such as a canary, failed because of throttling. A token that has just opened something gets a
    /// second: a new initialisation would cost all others their sessions, and would not help.
    pub(super) fn is_throttled(&self, error: &TokenError) -> bool {
        is_of_device(error) && self.is_recent(&self.opened)
    }

    fn is_recent(&self, last: &Mutex<Option<Duration>>) -> bool {
        let last = *lock(last);
        last.is_some_and(|last| self.clock.boottime().saturating_sub(last) < CANARY_GAP)
    }

    /// Pretends that the token last worked long ago: a failure may be that of a broken one.
    #[cfg(test)]
    pub(super) fn forget(&self) {
        *lock(&self.opened) = None;
        *lock(&self.worked) = None;
    }
}

/// Whether it is `CKR_DEVICE_ERROR`, which some tokens also return while they are overloaded (AWS CloudHSM).
pub(super) fn is_of_device(error: &TokenError) -> bool {
    error.value() == Some(ReturnValue::DEVICE_ERROR)
}
