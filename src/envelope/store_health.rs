//! The health of the root keys, and whether Status is ok.

use std::time::Duration;

use crate::envelope::error::EnvelopeError;
use crate::envelope::policy::Policy;
use crate::root_key::error::Error;
use crate::root_key::id::KeyId;

/// Status fails for this long after a read that was refused because a root key was unavailable.
const UNREADABLE_FOR: Duration = Duration::from_secs(60);

/// The health of the root keys, from the outcomes of calls. Times are of the machine's clock
/// ([`crate::clock::Clock::boottime`]). Stores are numbered in the order of `root_keys`; the first one encrypts.
#[derive(Debug, Default)]
pub(crate) struct StoreHealth {
    /// The last answer of the first store that was verified.
    last_good: Option<Duration>,
    /// Why calls to the first store fail.
    outage: Option<String>,
    /// Why the last listing of the first store failed. Until a listing succeeds, successful calls prove nothing: they
    /// may be answered from memory.
    unlisted: Option<String>,
    /// A wrap under the version that encrypts failed because the first store was unavailable. Until a wrap succeeds,
    /// successful unwraps prove nothing: tokens have been seen that unwrap but do not wrap, and then no new data key
    /// can be made.
    wraps_nothing: bool,
    /// A refusal or corruption of the version that encrypts or should. Only a proven data key ends it.
    refusal: Option<String>,
    /// The last read that was refused because a store was unavailable.
    unreadable: Option<Unreadable>,
}

#[derive(Debug)]
struct Unreadable {
    store: usize,
    since: Duration,
    reason: String,
}

/// An event that changes the health.
#[derive(Debug)]
pub(crate) enum Event<'a> {
    /// A call to a store succeeded. Whether the answer is right may not be known: an unwrapped key may be the wrong one,
    /// and a wrapped key that the store rejects may be a good one.
    Answered { store: usize },
    /// An answer of a store was verified: the unwrapped key was the expected one, or a payload opened under it.
    Verified { store: usize },
    /// The first store is unavailable.
    Unavailable(&'a Error),
    /// A wrap under the version that encrypts succeeded, or failed because the first store was unavailable.
    Wrapped { succeeded: bool },
    /// The first store was listed, or could not be.
    Listed(Result<(), &'a Error>),
    /// A `Decrypt` was refused because a store was unavailable.
    ReadRefused { store: usize, reason: String },
    /// The version that encrypts, or should, is refused.
    Refused { id: &'a KeyId, error: &'a Error },
    /// A new data key of that version was proven.
    Proven { id: &'a KeyId },
}

/// A change for the callers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum HealthChange {
    /// From now on data keys in memory serve, for a limited time.
    OutageBegan,
    /// The first store serves again.
    OutageEnded,
    /// Encryption has stopped.
    RefusalBegan,
    /// The version encrypts again.
    RefusalEnded,
}

impl StoreHealth {
    /// Takes note of an event. Returns the change for the callers, if there is one.
    pub(crate) fn observe(&mut self, event: &Event<'_>, now: Duration) -> Option<HealthChange> {
        match event {
            Event::Answered { store } => self.answered(*store),
            Event::Verified { store } => {
                if *store == 0 && self.unlisted.is_none() && !self.wraps_nothing {
                    self.last_good = Some(now);
                }
                None
            }
            Event::Unavailable(error) => {
                let before = self.outage.replace(error.chain());
                before.is_none().then_some(HealthChange::OutageBegan)
            }
            Event::Wrapped { succeeded } => {
                self.wraps_nothing = !succeeded;
                None
            }
            Event::Listed(listed) => {
                self.unlisted = listed.err().map(Error::chain);
                None
            }
            Event::ReadRefused { store, reason } => {
                self.unreadable = Some(Unreadable {
                    store: *store,
                    since: now,
                    reason: reason.clone(),
                });
                None
            }
            Event::Refused { error, .. } => {
                let before = self.refusal.replace(error.chain());
                before.is_none().then_some(HealthChange::RefusalBegan)
            }
            Event::Proven { .. } => self.refusal.take().map(|_| HealthChange::RefusalEnded),
        }
    }

    fn answered(&mut self, store: usize) -> Option<HealthChange> {
        if store == 0 && self.unlisted.is_some() {
            return None;
        }
        self.unreadable.take_if(|unreadable| unreadable.store == store);
        if store != 0 || self.wraps_nothing {
            return None;
        }
        self.outage.take().map(|_| HealthChange::OutageEnded)
    }

    /// Whether only a wrap can show that the first store is back.
    pub(crate) fn wants_wrap(&self) -> bool {
        self.wraps_nothing
    }

    /// Why the first store is unavailable, if it is.
    pub(crate) fn away(&self) -> Option<&str> {
        self.outage.as_deref().or(self.unlisted.as_deref())
    }

    /// Whether the first store is unavailable, which suspends the limits of age, use and TTL.
    pub(crate) fn is_outage(&self) -> bool {
        self.away().is_some()
    }

    pub(crate) fn is_refusal(&self) -> bool {
        self.refusal.is_some()
    }

    /// Whether there is no outage and no refusal, and an answer has been verified.
    pub(crate) fn is_good(&self) -> bool {
        !self.is_outage() && !self.is_refusal() && self.last_good.is_some()
    }

    pub(crate) fn last_good(&self) -> Option<Duration> {
        self.last_good
    }

    /// Whether Status is ok. Decided from memory, without a call to a root key.
    ///
    /// # Errors
    /// The reason why Status is not ok.
    pub(crate) fn verdict(&self, policy: &Policy, now: Duration) -> Result<(), EnvelopeError> {
        let unavailable = |reason: &str, why: &str| Err(EnvelopeError::Unavailable(format!("{reason} ({why})")));
        if let Some(reason) = &self.refusal {
            return Err(EnvelopeError::Refused(reason.clone()));
        }
        if let Some(Unreadable { since, reason, .. }) = &self.unreadable
            && now.saturating_sub(*since) < UNREADABLE_FOR
        {
            return unavailable(reason, "a read was refused within the last minute");
        }
        let Some(reason) = self.away() else {
            return self.not_forgotten(policy, now);
        };
        match self.last_good {
            _ if !policy.has_reserve() => unavailable(reason, "the configuration keeps no data keys in memory"),
            None => unavailable(reason, "no call has succeeded since the start"),
            Some(last) if now.saturating_sub(last) > policy.tolerate => {
                unavailable(reason, "for longer than outage.tolerate")
            }
            Some(_) => Ok(()),
        }
    }
}

impl StoreHealth {
    /// Without an outage the last verified answer is at most a few probes old. If it is older, the health is unknown, and
    /// Status must fail.
    fn not_forgotten(&self, policy: &Policy, now: Duration) -> Result<(), EnvelopeError> {
        let limit = policy.tolerate.max(policy.probe_interval * 3);
        match self.last_good {
            Some(last) if now.saturating_sub(last) > limit => Err(EnvelopeError::Unavailable(format!(
                "no answer of the root key was verified for {} s",
                limit.as_secs()
            ))),
            Some(_) | None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::envelope::policy::Reuse;
    use crate::root_key::error::Kind;

    const HOUR: Duration = Duration::from_secs(3600);

    fn outage() -> Error {
        Error::new(Kind::Outage, "token gone")
    }

    impl StoreHealth {
        fn good(&mut self, store: usize, now: Duration) -> Option<HealthChange> {
            let change = self.observe(&Event::Answered { store }, now);
            assert_eq!(self.observe(&Event::Verified { store }, now), None);
            change
        }

        fn read_refused(&mut self, store: usize, now: Duration) {
            let reason = "token gone".to_owned();
            assert_eq!(self.observe(&Event::ReadRefused { store, reason }, now), None);
        }
    }

    fn good_then_away() -> StoreHealth {
        let mut health = StoreHealth::default();
        health.good(0, HOUR);
        let error = outage();
        let away = Event::Unavailable(&error);
        assert_eq!(health.observe(&away, HOUR), Some(HealthChange::OutageBegan));
        assert_eq!(health.observe(&away, HOUR), None);
        health
    }

    #[test]
    fn an_answer_that_was_not_verified_ends_an_outage_and_is_no_good_call() {
        let mut health = good_then_away();
        let ended = health.observe(&Event::Answered { store: 0 }, HOUR * 2);
        assert_eq!(ended, Some(HealthChange::OutageEnded));
        assert_eq!(health.last_good(), Some(HOUR));
    }

    #[test]
    fn an_outage_is_tolerated_since_the_last_good_call() {
        let (health, policy) = (good_then_away(), Policy::default());
        assert!(health.verdict(&policy, HOUR * 25).is_ok());
        assert!(health.verdict(&policy, HOUR * 25 + Duration::from_secs(1)).is_err());
    }

    #[test]
    fn a_root_key_that_nobody_has_called_for_outage_tolerate_is_not_called_good() {
        let (mut health, policy) = (StoreHealth::default(), Policy::default());
        health.good(0, HOUR);
        assert!(health.verdict(&policy, HOUR * 25).is_ok());
        assert!(health.verdict(&policy, HOUR * 26).is_err());
    }

    #[test]
    fn a_read_refused_in_an_outage_ends_the_tolerance_for_60_s() {
        let (mut health, policy) = (good_then_away(), Policy::default());
        health.read_refused(0, HOUR * 2);
        assert!(health.verdict(&policy, HOUR * 2 + Duration::from_secs(59)).is_err());
        assert!(health.verdict(&policy, HOUR * 2 + Duration::from_secs(60)).is_ok());
        health.read_refused(0, HOUR * 3);
        assert_eq!(health.good(0, HOUR * 3), Some(HealthChange::OutageEnded));
        assert!(health.verdict(&policy, HOUR * 3).is_ok(), "the root key is back");
    }

    #[test]
    fn a_read_refused_for_want_of_another_store_shows_for_60_s_or_until_that_store_is_back() {
        let (mut health, policy) = (StoreHealth::default(), Policy::default());
        health.good(0, HOUR);
        health.read_refused(1, HOUR);
        health.good(0, HOUR);
        assert!(health.verdict(&policy, HOUR).is_err());
        health.good(1, HOUR);
        assert!(health.verdict(&policy, HOUR).is_ok());
    }

    #[test]
    fn a_store_that_lists_nothing_is_away_whatever_its_memory_answers() {
        let (mut health, policy) = (StoreHealth::default(), Policy::default());
        health.good(0, HOUR);
        health.observe(&Event::Listed(Err(&outage())), HOUR);
        health.good(0, HOUR * 24);
        assert!(health.is_outage() && health.last_good() == Some(HOUR));
        assert!(health.verdict(&policy, HOUR * 26).is_err());
        health.observe(&Event::Listed(Ok(())), HOUR);
        health.good(0, HOUR * 26);
        assert!(health.verdict(&policy, HOUR * 26).is_ok());
    }

    #[test]
    fn without_a_reserve_an_outage_shows_at_once() {
        let health = good_then_away();
        assert!(
            health
                .verdict(
                    &Policy {
                        reuse: Reuse::Never,
                        ..Policy::default()
                    },
                    HOUR
                )
                .is_err()
        );
        assert!(
            health
                .verdict(
                    &Policy {
                        cache_ttl: Duration::ZERO,
                        ..Policy::default()
                    },
                    HOUR
                )
                .is_err()
        );
    }

    #[test]
    fn a_refusal_shows_at_once_and_a_good_unwrap_elsewhere_does_not_end_it() {
        for kind in [Kind::Refusal, Kind::Corruption] {
            let mut health = StoreHealth::default();
            health.good(0, HOUR);
            let (id, error) = (KeyId::random().unwrap(), Error::new(kind, "not permitted"));
            let refused = Event::Refused { id: &id, error: &error };
            assert_eq!(health.observe(&refused, HOUR), Some(HealthChange::RefusalBegan));
            health.good(0, HOUR);
            assert!(matches!(
                health.verdict(&Policy::default(), HOUR),
                Err(EnvelopeError::Refused(_))
            ));
            let ended = health.observe(&Event::Proven { id: &id }, HOUR);
            assert_eq!(ended, Some(HealthChange::RefusalEnded));
            assert!(health.verdict(&Policy::default(), HOUR).is_ok());
        }
    }
}
