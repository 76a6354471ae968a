//! The callers that wait for an unwrap, and their deadlines. A backend uses this to drop abandoned calls, and to let
//! connections take turns.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::caller::Asker;
use crate::caller::Origin;

/// The callers that wait for one unwrap. Clones share their state.
#[derive(Clone, Debug)]
pub struct Patience(watch::Sender<Waiting>);

#[derive(Clone, Debug)]
struct Waiting {
    /// The number of waiting callers of each origin. An origin without callers has no entry.
    callers: BTreeMap<Option<Origin>, usize>,
    /// The latest deadline of the callers; `None` for the daemon's own work, which has none.
    until: Option<Instant>,
    begun: bool,
}

/// One waiting caller, until this is dropped.
#[derive(Debug)]
pub struct Caller {
    patience: Patience,
    origin: Option<Origin>,
}

impl Patience {
    /// For a call with a first caller.
    pub fn of_a_caller(asker: impl Into<Asker>) -> (Self, Caller) {
        let asker = asker.into();
        let patience = Self::new(BTreeMap::new(), Some(asker.until));
        let caller = patience.join(asker);
        (patience, caller)
    }

    /// For the daemon's own work.
    pub fn endless() -> Self {
        Self::new(BTreeMap::from([(None, 1)]), None)
    }

    fn new(callers: BTreeMap<Option<Origin>, usize>, until: Option<Instant>) -> Self {
        let begun = false;
        Self(watch::Sender::new(Waiting { callers, until, begun }))
    }

    /// Adds a caller with its origin and deadline.
    pub fn join(&self, asker: impl Into<Asker>) -> Caller {
        let Asker { until, origin } = asker.into();
        self.0.send_modify(|waiting| {
            *waiting.callers.entry(origin).or_default() += 1;
            waiting.until = waiting.until.map(|others| others.max(until));
        });
        let patience = self.clone();
        Caller { patience, origin }
    }

    /// Visits the origins of the callers that wait now. `None` stands for callers without an origin, and is also
    /// visited if there are no callers.
    pub fn visit_origins(&self, visit: impl FnMut(Option<Origin>)) {
        let waiting = self.0.borrow();
        if waiting.callers.is_empty() {
            std::iter::once(None).for_each(visit);
        } else {
            waiting.callers.keys().copied().for_each(visit);
        }
    }

    /// Whether [`Patience::visit_origins`] would visit this one.
    pub fn is_of(&self, origin: Option<Origin>) -> bool {
        let waiting = self.0.borrow();
        waiting.callers.contains_key(&origin) || (waiting.callers.is_empty() && origin.is_none())
    }

    /// Notes that the call to the root key has begun: from now on it continues even without callers.
    pub fn begin(&self) {
        self.0.send_modify(|waiting| waiting.begun = true);
    }

    /// The latest deadline of the callers; `None` if there is no deadline.
    pub fn until(&self) -> Option<Instant> {
        self.0.borrow().until
    }

    /// Returns when no caller waits any more and the unwrap has not begun.
    pub async fn lost(&self) {
        let mut changes = self.0.subscribe();
        let lost = |waiting: &Waiting| waiting.callers.is_empty() && !waiting.begun;
        // `self` holds the sender, so the channel is open.
        changes.wait_for(lost).await.ok();
    }
}

impl Caller {
    /// Whether the call to the root key has begun.
    pub fn has_begun(&self) -> bool {
        self.patience.0.borrow().begun
    }
}

impl Drop for Caller {
    fn drop(&mut self) {
        self.patience
            .0
            .send_modify(|waiting| match waiting.callers.get_mut(&self.origin) {
                Some(callers) if *callers > 1 => *callers -= 1,
                _ => drop(waiting.callers.remove(&self.origin)),
            });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_has_not_begun_is_lost_with_its_last_caller() {
        let soon = Instant::now() + Duration::from_secs(1);
        let later = soon + Duration::from_secs(1);
        let (patience, first) = Patience::of_a_caller(soon);
        let second = patience.join(later);
        assert_eq!(patience.until(), Some(later));
        drop(first);
        assert!(patience.lost().now_or_never().is_none());
        drop(second);
        assert!(patience.lost().now_or_never().is_some());
        let third = patience.join(soon);
        assert!(patience.lost().now_or_never().is_none(), "somebody waits again");
        patience.begin();
        drop(third);
        assert!(patience.lost().now_or_never().is_none(), "it goes on");
    }

    #[tokio::test]
    async fn own_work_is_never_lost() {
        let patience = Patience::endless();
        assert!(patience.until().is_none() && patience.lost().now_or_never().is_none());
    }
}
