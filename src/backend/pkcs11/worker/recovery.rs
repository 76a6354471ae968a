//! The recovery ladder: the steps after a failed call, from the cheapest up, each once for a call.

use crate::backoff::Backoff;
use crate::token::return_value::Remedy;

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

/// The rungs that one call has used.
#[derive(Clone, Debug, Default)]
pub(super) struct Ladder {
    climbed: Option<Rung>,
    /// The pauses before the first rung, for a token that may only be overloaded.
    pub(super) pauses: Pauses,
}

/// The pauses of one call.
#[derive(Clone, Debug, Default)]
pub(super) struct Pauses {
    pub(super) made: u32,
    pub(super) backoff: Option<Backoff>,
}

impl Ladder {
    /// The rung for a failure with this remedy, never one that was tried; `None` if no rung helps.
    pub(super) fn climb(&mut self, cure: Remedy) -> Option<Rung> {
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
}
