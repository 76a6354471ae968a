//! Proof that a version is gone. It is needed because a token that has lost its login also finds nothing, without an
//! error.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Mutex;
use std::time::Duration;

use crate::backend::pkcs11::worker::mutex::lock;
use crate::clock::Clock;
use crate::root_key::id::KeyId;

/// The pause between the two searches of a proof.
pub(super) const BETWEEN_LOOKS: Duration = Duration::from_secs(15);

/// The meaning of a failed search; of several the lowest counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum AbsenceVerdict {
    /// This process has found it before, so its view of the token may be wrong: only a fresh worker can decide.
    AskFresh,
    /// It may still exist: an outage.
    NotYet,
    /// A fresh worker with a confirmed login has searched twice.
    Gone,
}

/// The searches of this process, shared by its threads.
pub(super) struct Absence {
    clock: Clock,
    proof: Mutex<AbsenceProof>,
}

impl Absence {
    pub(super) fn new(clock: Clock) -> Self {
        let proof = Mutex::default();
        Self { clock, proof }
    }

    /// An object was found.
    pub(super) fn saw(&self, what: Option<KeyId>) {
        lock(&self.proof).saw(what);
    }

    /// Whether it is proven that this object is gone.
    pub(super) fn is_proven(&self, what: Option<&KeyId>) -> bool {
        lock(&self.proof).is_gone(what)
    }

    /// The meaning of these objects' absence from a search now, with a login that the token has confirmed or not.
    pub(super) fn judge(&self, missing: Vec<Option<KeyId>>, login_confirmed: bool) -> AbsenceVerdict {
        let now = self.clock.boottime();
        let mut proof = lock(&self.proof);
        let verdicts = missing.into_iter().map(|what| proof.missed(what, login_confirmed, now));
        verdicts.min().unwrap_or(AbsenceVerdict::NotYet)
    }
}

/// The objects that this process has found and missed. `None` stands for any version.
#[derive(Debug, Default)]
struct AbsenceProof {
    seen: HashSet<Option<KeyId>>,
    /// The time of the first failed search, by the system's boot-time clock.
    missed: HashMap<Option<KeyId>, Duration>,
    gone: HashSet<Option<KeyId>>,
}

impl AbsenceProof {
    /// An object was found.
    fn saw(&mut self, what: Option<KeyId>) {
        self.missed.remove(&what);
        self.gone.remove(&what);
        self.seen.insert(what);
    }

    /// Whether it is proven that this object is gone.
    fn is_gone(&self, what: Option<&KeyId>) -> bool {
        self.gone.contains(&what.cloned())
    }

    /// An object was not found, with a login that the token has confirmed or not. `now` is the boot-time clock.
    fn missed(&mut self, what: Option<KeyId>, login_confirmed: bool, now: Duration) -> AbsenceVerdict {
        if self.seen.contains(&what) {
            return AbsenceVerdict::AskFresh;
        }
        if !login_confirmed {
            return AbsenceVerdict::NotYet;
        }
        let first = *self.missed.entry(what.clone()).or_insert(now);
        if now.saturating_sub(first) >= BETWEEN_LOOKS {
            self.gone.insert(what);
            AbsenceVerdict::Gone
        } else {
            AbsenceVerdict::NotYet
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
        let mut proof = AbsenceProof::default();
        assert_eq!(proof.missed(None, true, start), AbsenceVerdict::NotYet);
        assert_eq!(proof.missed(None, true, after(14)), AbsenceVerdict::NotYet);
        assert!(!proof.is_gone(None));
        assert_eq!(proof.missed(None, true, after(15)), AbsenceVerdict::Gone);
        assert!(proof.is_gone(None));

        let mut unconfirmed = AbsenceProof::default();
        assert_eq!(unconfirmed.missed(None, false, start), AbsenceVerdict::NotYet);
        assert_eq!(unconfirmed.missed(None, false, after(3600)), AbsenceVerdict::NotYet);
    }

    #[test]
    fn a_worker_that_has_seen_it_does_not_judge() {
        let mut proof = AbsenceProof::default();
        proof.saw(None);
        assert_eq!(proof.missed(None, true, Duration::ZERO), AbsenceVerdict::AskFresh);
    }
}
