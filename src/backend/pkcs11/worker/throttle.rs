//! Backs off from an overloaded token: some tokens then answer like broken ones (AWS CloudHSM).

use std::sync::Mutex;
use std::time::Duration;

use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::worker::job::Job;
use crate::backend::pkcs11::worker::queue::CANARY_GAP;
use crate::backend::pkcs11::worker::recovery::Pauses;
use crate::backend::pkcs11::worker::service::Service;
use crate::backend::pkcs11::worker::service::lock;
use crate::backoff::Backoff;
use crate::token::error::TokenError;
use crate::token::return_value::ReturnValue;

/// The most repetitions of a call.
const REPEATS: u32 = 4;
/// The first pause; each doubles. Tokens count calls per second.
const FIRST: Duration = Duration::from_millis(250);
/// All pauses of a call take at most half of `call_timeout`: the rest is for the next call that the worker has been
/// given.
const SHARE: u32 = 2 * REPEATS;

/// The judgement of a device's failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Throttled {
    /// Not a sign of throttling, or the token may be broken.
    No,
    /// The token was overloaded; a pause was made, and the call may be repeated.
    Paused,
    /// The token is still overloaded after all pauses.
    Still,
}

impl Service {
    /// Whether an unwrap, such as a canary, failed because of throttling. A token that has just opened something gets a
    /// second: a new initialisation would cost all others their sessions, and would not help.
    pub(super) fn is_throttled(&self, error: &TokenError) -> bool {
        is_of_device(error) && self.is_recent(&self.opened)
    }

    /// Pauses if a call failed because of throttling. The session's thread pauses, so that the token gets fewer calls;
    /// the call's time limit restarts before and after the pause.
    pub(super) fn back_off(&self, job: &Job, error: &TokenError, pauses: &mut Pauses) -> Throttled {
        let throttled = is_of_device(error) && self.is_recent(&self.worked);
        // Possibly no other call has run during the pauses, so the judgement before the first one counts.
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
        self.outlet.extend_deadline(Paused::Call(job.number), Duration::ZERO);
        std::thread::sleep(pause);
        self.outlet.extend_deadline(Paused::Call(job.number), Duration::ZERO);
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
