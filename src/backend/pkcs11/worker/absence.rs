//! Proof that a version is gone: a token that has lost its login finds nothing either, and says no word about it.

use std::collections::HashMap;
use std::collections::HashSet;
use std::time::Duration;

use crate::root_key::id::KeyId;

/// Between the two looks that prove it.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_secs(15);

/// What not finding something means; of several things the lowest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Verdict {
    /// This process has seen it, so its view of the token may be spoilt: only a fresh worker can tell.
    AskFresh,
    /// It may still be there: an outage.
    NotYet,
    /// A fresh worker, properly logged in, has looked twice.
    Gone,
}

/// What this process has found and missed. `None` stands for any version at all.
#[derive(Debug, Default)]
pub(super) struct AbsenceProof {
    seen: HashSet<Option<KeyId>>,
    /// When for the first time, by the machine's clock.
    missed: HashMap<Option<KeyId>, Duration>,
    gone: HashSet<Option<KeyId>>,
}

impl AbsenceProof {
    /// Something was found.
    pub(super) fn saw(&mut self, what: Option<KeyId>) {
        self.missed.remove(&what);
        self.gone.remove(&what);
        self.seen.insert(what);
    }

    /// Whether it was proven that this is gone.
    pub(super) fn is_gone(&self, what: Option<&KeyId>) -> bool {
        self.gone.contains(&what.cloned())
    }

    /// Something was not found, with a login that the token has confirmed or not. `now` is the machine's clock.
    pub(super) fn missed(&mut self, what: Option<KeyId>, login_confirmed: bool, now: Duration) -> Verdict {
        if self.seen.contains(&what) {
            return Verdict::AskFresh;
        }
        if !login_confirmed {
            return Verdict::NotYet;
        }
        let first = *self.missed.entry(what.clone()).or_insert(now);
        if now.saturating_sub(first) >= BETWEEN_LOOKS {
            self.gone.insert(what);
            Verdict::Gone
        } else {
            Verdict::NotYet
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_second_look_after_15_s_with_a_confirmed_login_proves_that_a_version_is_gone() {
        let start = Duration::from_secs(1000);
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut sightings = AbsenceProof::default();
        assert_eq!(sightings.missed(None, true, start), Verdict::NotYet);
        assert_eq!(sightings.missed(None, true, after(14)), Verdict::NotYet);
        assert!(!sightings.is_gone(None));
        assert_eq!(sightings.missed(None, true, after(15)), Verdict::Gone);
        assert!(sightings.is_gone(None));

        let mut unconfirmed = AbsenceProof::default();
        assert_eq!(unconfirmed.missed(None, false, start), Verdict::NotYet);
        assert_eq!(unconfirmed.missed(None, false, after(3600)), Verdict::NotYet);
    }

    #[test]
    fn a_worker_that_has_seen_it_does_not_judge() {
        let mut sightings = AbsenceProof::default();
        sightings.saw(None);
        assert_eq!(sightings.missed(None, true, Duration::ZERO), Verdict::AskFresh);
    }
}
