//! The recovery ladder: what is tried after a failed call, from the cheapest rung up, each rung once for a call.

use crate::backoff::Backoff;
use crate::token::return_value::Remedy;

/// What can be done about a failed call. Whatever failed, its session is dropped first: the next one is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rung {
    /// A new session, and the key's handles looked for again.
    Session,
    /// `C_Login`.
    Login,
    /// Every session closed, `C_Finalize`, `C_Initialize`.
    Module,
    /// This process ends; the daemon starts another one.
    Worker,
}

/// How far up the ladder one call has come.
#[derive(Clone, Debug, Default)]
pub(super) struct Ladder {
    climbed: Option<Rung>,
    /// Those before the first rung, for a token that may only have too much to do.
    pub(super) pauses: Pauses,
}

/// The pauses that one call has made.
#[derive(Clone, Debug, Default)]
pub(super) struct Pauses {
    pub(super) made: u32,
    pub(super) backoff: Option<Backoff>,
}

impl Ladder {
    /// The rung for a failure that `cure` helps against, never one that was tried; `None` where nothing helps.
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
