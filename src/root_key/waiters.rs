//! The callers that wait for a call to a root key. A backend uses them to drop abandoned calls, and to let connections
//! take turns.

use std::collections::BTreeMap;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::caller::Caller;
use crate::caller::ConnectionId;

/// The callers that wait for one call. Clones share their state.
#[derive(Clone, Debug)]
pub struct Waiters(watch::Sender<Waiting>);

#[derive(Clone, Debug)]
struct Waiting {
    /// The number of waiting callers of each connection. A connection without callers has no entry.
    callers: BTreeMap<Option<ConnectionId>, usize>,
    /// The latest deadline of the callers; `None` for the daemon's own work, which has none.
    deadline: Option<Instant>,
    begun: bool,
}

/// One waiting caller, until this is dropped.
#[derive(Debug)]
pub struct Waiter {
    waiters: Waiters,
    connection: Option<ConnectionId>,
}

impl Waiters {
    /// For a call with a first caller.
    pub fn of_caller(caller: impl Into<Caller>) -> (Self, Waiter) {
        let caller = caller.into();
        let waiters = Self::new(BTreeMap::new(), Some(caller.deadline));
        let waiter = waiters.join(caller);
        (waiters, waiter)
    }

    /// For the daemon's own work.
    pub fn of_daemon() -> Self {
        Self::new(BTreeMap::from([(None, 1)]), None)
    }

    fn new(callers: BTreeMap<Option<ConnectionId>, usize>, deadline: Option<Instant>) -> Self {
        Self(watch::Sender::new(Waiting {
            callers,
            deadline,
            begun: false,
        }))
    }

    /// Adds a caller.
    pub fn join(&self, caller: impl Into<Caller>) -> Waiter {
        let Caller { connection, deadline } = caller.into();
        self.0.send_modify(|waiting| {
            *waiting.callers.entry(connection).or_default() += 1;
            waiting.deadline = waiting.deadline.map(|others| others.max(deadline));
        });
        let waiters = self.clone();
        Waiter { waiters, connection }
    }

    /// Visits the connections of the callers that wait now. `None` stands for callers without a connection, and is also
    /// visited if there are no callers.
    pub fn visit_connections(&self, visit: impl FnMut(Option<ConnectionId>)) {
        let waiting = self.0.borrow();
        if waiting.callers.is_empty() {
            std::iter::once(None).for_each(visit);
        } else {
            waiting.callers.keys().copied().for_each(visit);
        }
    }

    /// Whether [`Waiters::visit_connections`] would visit this one.
    pub fn include(&self, connection: Option<ConnectionId>) -> bool {
        let waiting = self.0.borrow();
        waiting.callers.contains_key(&connection) || (waiting.callers.is_empty() && connection.is_none())
    }

    /// Notes that the call to the root key has begun: from now on it continues even without callers.
    pub fn begin(&self) {
        self.0.send_modify(|waiting| waiting.begun = true);
    }

    /// The latest deadline of the callers; `None` if there is no deadline.
    pub fn deadline(&self) -> Option<Instant> {
        self.0.borrow().deadline
    }

    /// Returns when no caller waits any more and the call has not begun.
    pub async fn abandoned(&self) {
        let mut changes = self.0.subscribe();
        let abandoned = |waiting: &Waiting| waiting.callers.is_empty() && !waiting.begun;
        // `self` holds the sender, so the channel is open.
        changes.wait_for(abandoned).await.ok();
    }
}

impl Waiter {
    /// Whether the call to the root key has begun.
    pub fn has_begun(&self) -> bool {
        self.waiters.0.borrow().begun
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        self.waiters
            .0
            .send_modify(|waiting| match waiting.callers.get_mut(&self.connection) {
                Some(callers) if *callers > 1 => *callers -= 1,
                _ => drop(waiting.callers.remove(&self.connection)),
            });
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn a_call_that_has_not_begun_is_abandoned_with_its_last_caller() {
        let soon = Instant::now() + Duration::from_secs(1);
        let later = soon + Duration::from_secs(1);
        let (waiters, first) = Waiters::of_caller(soon);
        let second = waiters.join(later);
        assert_eq!(waiters.deadline(), Some(later));
        drop(first);
        assert!(waiters.abandoned().now_or_never().is_none());
        drop(second);
        assert!(waiters.abandoned().now_or_never().is_some());
        let third = waiters.join(soon);
        assert!(waiters.abandoned().now_or_never().is_none(), "somebody waits again");
        waiters.begin();
        drop(third);
        assert!(waiters.abandoned().now_or_never().is_none(), "it goes on");
    }

    #[tokio::test]
    async fn own_work_is_never_abandoned() {
        let waiters = Waiters::of_daemon();
        assert!(waiters.deadline().is_none() && waiters.abandoned().now_or_never().is_none());
    }
}
