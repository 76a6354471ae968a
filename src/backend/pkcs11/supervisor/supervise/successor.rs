//! The successor of the current worker: whether one is needed, when it may start, and its start.

use std::pin::Pin;

use tokio::time::Instant;

use crate::backend::pkcs11::supervisor::handshake::NotOpened;
use crate::backend::pkcs11::supervisor::handshake::Opened;
use crate::backend::pkcs11::supervisor::journal::Reason;
use crate::backend::pkcs11::supervisor::restart_backoff::Attempts;

/// The start of a worker. Dropped, it ends the worker.
pub(super) type StartAttempt = Pin<Box<dyn Future<Output = Result<Opened, NotOpened>> + Send>>;

/// The successor of the current worker. Only [`Successor::change`] changes its state.
pub(super) struct Successor {
    state: State,
    attempts: Attempts,
}

enum State {
    /// Not needed. -> `Wanted` when the current worker is lost or too large
    Unwanted,
    /// Starts when it is due. -> `Coming`
    Wanted(Reason),
    /// Starting. -> `Unwanted` if it opens its token, else `Wanted`
    Coming(Reason, StartAttempt),
    /// No worker may start any more. Every state -> `GivenUp`; this one is final
    GivenUp,
}

/// The cause of a change.
pub(super) enum Change {
    /// The current worker is lost. A worker that is starting already takes its place.
    Lost(Reason, Instant),
    /// The current worker is too large; it serves until another one does.
    TooLarge,
    /// Its start has begun.
    Begun(StartAttempt),
    /// It has opened its token, and is the current worker.
    Opened,
    /// It could not open its token.
    NotOpened(Instant),
    /// No worker may start any more.
    GivenUp,
}

impl Successor {
    /// The first worker is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            state: State::Wanted(Reason::Start),
            attempts: Attempts::new(now),
        }
    }

    pub(super) fn change(&mut self, change: Change) {
        let state = std::mem::replace(&mut self.state, State::Unwanted);
        self.state = match (state, change) {
            (State::GivenUp, _) | (_, Change::GivenUp) => State::GivenUp,
            (State::Unwanted | State::Wanted(_), Change::Lost(reason, now))
            | (State::Coming(reason, _), Change::NotOpened(now)) => {
                self.attempts.failed(now);
                State::Wanted(reason)
            }
            (State::Unwanted, Change::TooLarge) => State::Wanted(Reason::Memory),
            (State::Wanted(reason), Change::Begun(attempt)) => State::Coming(reason, attempt),
            (State::Coming(..), Change::Opened) => State::Unwanted,
            (state, Change::Lost(..) | Change::TooLarge | Change::Begun(_) | Change::Opened | Change::NotOpened(_)) => {
                state
            }
        };
    }

    /// Whether the current worker needs none.
    pub(super) fn is_unwanted(&self) -> bool {
        matches!(self.state, State::Unwanted)
    }

    /// When it may start, and why, depending on whether a call waits for it; `None` if none is to be started.
    pub(super) fn due(&self, waited_for: bool) -> Option<(Instant, Reason)> {
        match self.state {
            State::Wanted(reason) => Some((self.attempts.due(waited_for), reason)),
            State::Unwanted | State::Coming(..) | State::GivenUp => None,
        }
    }

    /// The token works: after the next failure, the delays begin with the shortest again.
    pub(super) fn forget_failures(&mut self) {
        self.attempts.succeeded();
    }

    /// Waits for the end of its start, which must be followed by [`Change::Opened`] or [`Change::NotOpened`].
    ///
    /// # Cancel safety
    /// The start continues with the next call.
    pub(super) async fn opened(&mut self) -> (Reason, Result<Opened, NotOpened>) {
        match &mut self.state {
            State::Coming(reason, attempt) => (*reason, attempt.await),
            State::Unwanted | State::Wanted(_) | State::GivenUp => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn begun() -> Change {
        Change::Begun(Box::pin(std::future::pending()))
    }

    #[test]
    fn a_worker_that_is_starting_takes_the_place_of_a_lost_one_and_no_other_is_started() {
        let now = Instant::now();
        let mut successor = Successor::new(now);
        assert_eq!(successor.due(true), Some((now, Reason::Start)), "the first one at once");
        successor.change(begun());
        successor.change(Change::Lost(Reason::Died, now));
        successor.change(Change::TooLarge);
        assert_eq!(successor.due(true), None);
        successor.change(Change::NotOpened(now));
        let due = successor.due(true);
        assert!(due.is_some_and(|(at, why)| at > now && why == Reason::Start), "{due:?}");
    }

    #[test]
    fn only_a_worker_that_serves_is_replaced_for_its_size_and_a_lost_one_at_any_time() {
        let now = Instant::now();
        let mut successor = Successor::new(now);
        successor.change(begun());
        successor.change(Change::Opened);
        assert!(successor.is_unwanted() && successor.due(true).is_none());
        successor.change(Change::TooLarge);
        assert_eq!(successor.due(false), Some((now, Reason::Memory)), "nothing has failed");
        successor.change(Change::Lost(Reason::Hung, now));
        assert!(successor.due(true).is_some_and(|(_, why)| why == Reason::Hung));
    }

    #[test]
    fn nothing_starts_after_the_end_of_all_attempts() {
        let now = Instant::now();
        for before in [begun(), Change::Lost(Reason::Asked, now)] {
            let mut successor = Successor::new(now);
            successor.change(before);
            successor.change(Change::GivenUp);
            // The last worker may still finish a call, and fail or grow in it.
            let later = [
                Change::TooLarge,
                Change::Lost(Reason::Died, now),
                Change::NotOpened(now),
            ];
            for change in later {
                successor.change(change);
                assert_eq!(successor.due(true), None);
            }
        }
    }
}
