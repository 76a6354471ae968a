//! The recovery of one failed call: pauses for an overloaded token, then steps from the cheapest to the most expensive,
//! each once.

use std::time::Duration;

use crate::backend::pkcs11::worker::activity::is_of_device;
use crate::backoff::Backoff;
use crate::token::error::TokenError;
use crate::token::return_value::Remedy;

/// The most repetitions of a call for an overloaded token.
const REPEATS: u32 = 4;
/// The first pause; each doubles. Tokens count calls per second.
const FIRST: Duration = Duration::from_millis(250);
/// All pauses of a call take at most half of `call_timeout`: the rest is for the next call that the worker has been
/// given.
const SHARE: u32 = 2 * REPEATS;

/// One step of a recovery. The session of the failed call is dropped first in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum RecoveryStep {
    /// A new session, and a new search for the key's handles.
    Session,
    /// `C_Login`.
    Login,
    /// Close every session, `C_Finalize`, `C_Initialize`.
    Module,
    /// This process ends; the daemon starts another one.
    Worker,
}

/// The reaction to a failed call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The token is overloaded: pause for this long, then repeat the call. The session's thread pauses, so that the
    /// token gets fewer calls.
    Pause(Duration),
    /// Take this step, then repeat the call.
    Take(RecoveryStep),
    /// Nothing helps.
    Fail,
}

/// The pauses and steps that one call has used.
#[derive(Clone, Debug, Default)]
pub(super) struct Recovery {
    /// The most expensive step so far.
    taken: Option<RecoveryStep>,
    /// The pauses before the first step, for a token that may only be overloaded.
    pauses: u32,
    backoff: Option<Backoff>,
}

impl Recovery {
    /// Decides the reaction to a failure. `has_just_worked`: the token has wrapped or unwrapped a moment ago.
    pub(super) fn decide(&mut self, error: &TokenError, has_just_worked: bool, call_timeout: Duration) -> Decision {
        // Possibly no other call has run during the pauses, so the judgement before the first one counts.
        if is_of_device(error) && (has_just_worked || self.pauses > 0) {
            if self.pauses < REPEATS {
                return Decision::Pause(self.pause(call_timeout));
            }
            if has_just_worked {
                return Decision::Fail;
            }
        }
        self.next_step(error.remedy()).map_or(Decision::Fail, Decision::Take)
    }

    fn pause(&mut self, call_timeout: Duration) -> Duration {
        self.pauses += 1;
        let longest = call_timeout / SHARE;
        let backoff = || Backoff::new(FIRST.min(longest), longest);
        self.backoff.get_or_insert_with(backoff).wait()
    }

    /// The step for a failure with this remedy, never one that was tried; `None` if no step helps.
    fn next_step(&mut self, remedy: Remedy) -> Option<RecoveryStep> {
        let wanted = match remedy {
            Remedy::Session => RecoveryStep::Session,
            Remedy::Login => RecoveryStep::Login,
            Remedy::Module => RecoveryStep::Module,
            Remedy::Pin | Remedy::Nothing => return None,
        };
        let above = match self.taken {
            None => RecoveryStep::Session,
            Some(RecoveryStep::Session) => RecoveryStep::Login,
            Some(RecoveryStep::Login) => RecoveryStep::Module,
            Some(RecoveryStep::Module | RecoveryStep::Worker) => RecoveryStep::Worker,
        };
        let step = wanted.max(above);
        self.taken = Some(step);
        Some(step)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::return_value::ReturnValue;

    #[test]
    fn each_step_is_taken_once_and_the_last_one_ends_the_worker() {
        let mut recovery = Recovery::default();
        let taken: Vec<_> = (0..4).filter_map(|_| recovery.next_step(Remedy::Session)).collect();
        assert_eq!(
            taken,
            [
                RecoveryStep::Session,
                RecoveryStep::Login,
                RecoveryStep::Module,
                RecoveryStep::Worker
            ]
        );
    }

    #[test]
    fn a_remedy_skips_the_cheaper_steps() {
        let mut recovery = Recovery::default();
        assert_eq!(recovery.next_step(Remedy::Module), Some(RecoveryStep::Module));
        assert_eq!(recovery.next_step(Remedy::Session), Some(RecoveryStep::Worker));
        assert_eq!(Recovery::default().next_step(Remedy::Login), Some(RecoveryStep::Login));
    }

    #[test]
    fn nothing_is_tried_against_a_wrong_pin_or_a_refusal() {
        assert_eq!(Recovery::default().next_step(Remedy::Pin), None);
        assert_eq!(Recovery::default().next_step(Remedy::Nothing), None);
    }

    #[test]
    fn a_device_that_has_just_worked_gets_four_pauses_and_no_step() {
        let timeout = Duration::from_secs(10);
        let busy = TokenError::Call {
            function: "C_Decrypt".to_owned(),
            value: ReturnValue::DEVICE_ERROR,
        };
        let mut recovery = Recovery::default();
        for _ in 0..REPEATS {
            let decision = recovery.decide(&busy, true, timeout);
            assert!(
                matches!(decision, Decision::Pause(pause) if pause <= timeout / SHARE),
                "{decision:?}"
            );
        }
        assert_eq!(recovery.decide(&busy, true, timeout), Decision::Fail);
        // It has not worked since: it is broken.
        assert_eq!(
            recovery.decide(&busy, false, timeout),
            Decision::Take(RecoveryStep::Module)
        );
        assert_eq!(
            Recovery::default().decide(&busy, false, timeout),
            Decision::Take(RecoveryStep::Module)
        );
    }
}
