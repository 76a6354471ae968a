//! Who waits for an unwrap, and until when: what lets a backend drop work that nobody wants any more, and let callers
//! take turns.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::proto::asker::Asker;
use crate::proto::asker::Origin;

/// The patience of all callers that wait for one unwrap. Clones are one.
#[derive(Clone, Debug)]
pub struct Patience(watch::Sender<Waiting>);

#[derive(Clone, Debug)]
struct Waiting {
    /// How many wait, by where they call from; nobody is no entry.
    callers: BTreeMap<Option<Origin>, usize>,
    /// When the last of them gives up; `None` for work of the daemon's own, which waits as long as it takes.
    until: Option<Instant>,
    begun: bool,
}

/// One caller. It waits until this is dropped.
#[derive(Debug)]
pub struct Caller {
    patience: Patience,
    origin: Option<Origin>,
}

impl Patience {
    /// That of a first caller.
    pub fn of_a_caller(asker: impl Into<Asker>) -> (Self, Caller) {
        let asker = asker.into();
        let patience = Self::new(BTreeMap::new(), Some(asker.until));
        let caller = patience.join(asker);
        (patience, caller)
    }

    /// That of the daemon's own work.
    pub fn endless() -> Self {
        Self::new(BTreeMap::from([(None, 1)]), None)
    }

    fn new(callers: BTreeMap<Option<Origin>, usize>, until: Option<Instant>) -> Self {
        let begun = false;
        Self(watch::Sender::new(Waiting { callers, until, begun }))
    }

    /// Another caller waits too, and lends its origin.
    pub fn join(&self, asker: impl Into<Asker>) -> Caller {
        let Asker { until, origin } = asker.into();
        self.0.send_modify(|waiting| {
            *waiting.callers.entry(origin).or_default() += 1;
            waiting.until = waiting.until.map(|others| others.max(until));
        });
        let patience = self.clone();
        Caller { patience, origin }
    }

    /// Visits the origins of those who wait now; `None` stands for all that have none, and for nobody.
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

    /// The root key is being asked: from here on the unwrap goes on whatever becomes of its callers.
    pub fn begin(&self) {
        self.0.send_modify(|waiting| waiting.begun = true);
    }

    /// When the last caller gives up; `None` if nobody ever does.
    pub fn until(&self) -> Option<Instant> {
        self.0.borrow().until
    }

    /// Returns when nobody waits any more and the unwrap has not begun.
    pub async fn lost(&self) {
        let mut changes = self.0.subscribe();
        let lost = |waiting: &Waiting| waiting.callers.is_empty() && !waiting.begun;
        // The sender is ours: it can't be gone.
        changes.wait_for(lost).await.ok();
    }
}

impl Caller {
    /// Whether the root key is being asked for it.
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
