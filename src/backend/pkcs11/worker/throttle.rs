//! Backs off from a token that is asked too much: some answer then as a broken one does (AWS CloudHSM).

use std::sync::Mutex;
use std::time::Duration;

use crate::backend::pkcs11::worker::channel::Level;
use crate::backend::pkcs11::worker::job::Job;
use crate::backend::pkcs11::worker::queue::CANARY_GAP;
use crate::backend::pkcs11::worker::recovery::Pauses;
use crate::backend::pkcs11::worker::service::Service;
use crate::backend::pkcs11::worker::service::lock;
use crate::backoff::Backoff;
use crate::token::error::TokenError;
use crate::token::return_value::ReturnValue;

/// So often a call is repeated.
const REPEATS: u32 = 4;
/// The first pause; they double. Tokens count their calls by the second.
const FIRST: Duration = Duration::from_millis(250);
/// All pauses of a call take half of `call_timeout` at most: one that the worker was handed behind it has the rest.
const SHARE: u32 = 2 * REPEATS;

/// What a failure of the device says of a token that may be throttled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Throttled {
    /// It is none, or one of a token that may be broken.
    No,
    /// It had too much to do; a pause was made, and the call may be repeated.
    Paused,
    /// It still has too much to do after all pauses.
    Still,
}

impl Service {
    /// Whether an unwrap, as a canary is one, failed for too many calls. A token that has just opened something is given
    /// a second: to initialise it anew would cost all others their sessions, and help nobody.
    pub(super) fn is_throttled(&self, error: &TokenError) -> bool {
        is_of_device(error) && self.is_recent(&self.opened)
    }

    /// Makes a pause if a call failed for too many calls. The session's thread makes it, so that the token is left alone;
    /// the call's time begins anew, before and behind it.
    pub(super) fn back_off(&self, job: &Job, error: &TokenError, pauses: &mut Pauses) -> Throttled {
        let throttled = is_of_device(error) && self.is_recent(&self.worked);
        // During the pauses nothing else may have been asked for: what they began with counts.
        if !throttled && (pauses.made == 0 || !is_of_device(error)) {
            return Throttled::No;
        }
        if pauses.made == REPEATS {
            return if throttled { Throttled::Still } else { Throttled::No };
        }
        pauses.made += 1;
        let longest = self.assignment.options.call_timeout / SHARE;
        let backoff = || Backoff::new(FIRST.min(longest), longest);
        let pause = pauses.backoff.get_or_insert_with(backoff).wait();
        let told = format!("{error}; backs off for {} ms", pause.as_millis());
        self.outlet.say(Level::Debug, told);
        self.outlet.waiting(job.number, Duration::ZERO);
        std::thread::sleep(pause);
        self.outlet.waiting(job.number, Duration::ZERO);
        Throttled::Paused
    }

    fn is_recent(&self, last: &Mutex<Option<Duration>>) -> bool {
        let last = *lock(last);
        last.is_some_and(|last| self.clock.boottime().saturating_sub(last) < CANARY_GAP)
    }
}

fn is_of_device(error: &TokenError) -> bool {
    error.value() == Some(ReturnValue::DEVICE_ERROR)
}
