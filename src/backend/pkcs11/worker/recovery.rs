//! The recovery history of one call: pauses for an overloaded token, then the steps of the recovery ladder, from the
//! cheapest up, each once.

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

/// A step against a failed call. The session of the failed call is dropped first in any case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    /// A new session, and a new search for the key's handles.
    Session,
    /// `C_Login`.
    Login,
    /// Close every session, `C_Finalize`, `C_Initialize`.
    Module,
    /// This process ends; the daemon starts another one.
    Worker,
}

/// What follows from the failure of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Decision {
    /// The token is overloaded: pause for this long, then repeat the call. The session's thread pauses, so that the
    /// token gets fewer calls.
    Pause(Duration),
    /// Take this step, then repeat the call.
    Climb(Rung),
    /// Nothing helps.
    Fail,
}

/// The pauses and rungs that one call has used.
#[derive(Clone, Debug, Default)]
pub(super) struct Ladder {
    climbed: Option<Rung>,
    /// The pauses before the first rung, for a token that may only be overloaded.
    pauses: u32,
    backoff: Option<Backoff>,
}

impl Ladder {
    /// Decides what follows from a failure. `has_just_worked`: the token has wrapped or unwrapped a moment ago.
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
        self.climb(error.cure()).map_or(Decision::Fail, Decision::Climb)
    }

    fn pause(&mut self, call_timeout: Duration) -> Duration {
        self.pauses += 1;
        let longest = call_timeout / SHARE;
        let backoff = || Backoff::new(FIRST.min(longest), longest);
        self.backoff.get_or_insert_with(backoff).wait()
    }

    /// The rung for a failure with this remedy, never one that was tried; `None` if no rung helps.
    fn climb(&mut self, cure: Remedy) -> Option<Rung> {
        let wanted = match cure {
            Remedy::Session => Rung::Session,
            Remedy::Login => Rung::Login,
            Remedy::Module => Rung::Module,
            Remedy::Pin | Remedy::Nothing => return None,
        };
        let above = match self.climbed {
            None => Rung::Session,
            Some(Rung::Session) => Rung::Login,
            Some(Rung::Login) => Rung::Module,
            Some(Rung::Module | Rung::Worker) => Rung::Worker,
        };
        let rung = wanted.max(above);
        self.climbed = Some(rung);
        Some(rung)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::return_value::ReturnValue;

    #[test]
    fn each_rung_is_tried_once_and_the_worker_ends_above_the_last() {
        let mut ladder = Ladder::default();
        let climbed: Vec<_> = (0..4).filter_map(|_| ladder.climb(Remedy::Session)).collect();
        assert_eq!(climbed, [Rung::Session, Rung::Login, Rung::Module, Rung::Worker]);
    }

    #[test]
    fn a_cure_skips_the_rungs_below_it() {
        let mut ladder = Ladder::default();
        assert_eq!(ladder.climb(Remedy::Module), Some(Rung::Module));
        assert_eq!(ladder.climb(Remedy::Session), Some(Rung::Worker));
        assert_eq!(Ladder::default().climb(Remedy::Login), Some(Rung::Login));
    }

    #[test]
    fn nothing_is_tried_against_a_wrong_pin_or_a_refusal() {
        assert_eq!(Ladder::default().climb(Remedy::Pin), None);
        assert_eq!(Ladder::default().climb(Remedy::Nothing), None);
    }

    #[test]
    fn a_device_that_has_just_worked_gets_four_pauses_and_no_rung() {
        let timeout = Duration::from_secs(10);
        let busy = TokenError::Call {
            function: "C_Decrypt".to_owned(),
            value: ReturnValue::DEVICE_ERROR,
        };
        let mut ladder = Ladder::default();
        for _ in 0..REPEATS {
            let decision = ladder.decide(&busy, true, timeout);
            assert!(
                matches!(decision, Decision::Pause(pause) if pause <= timeout / SHARE),
                "{decision:?}"
            );
        }
        assert_eq!(ladder.decide(&busy, true, timeout), Decision::Fail);
        // It has not worked since: it is broken.
        assert_eq!(ladder.decide(&busy, false, timeout), Decision::Climb(Rung::Module));
        assert_eq!(
            Ladder::default().decide(&busy, false, timeout),
            Decision::Climb(Rung::Module)
        );
    }
}
