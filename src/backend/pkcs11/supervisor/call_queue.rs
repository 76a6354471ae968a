//! Calls that wait for a worker.

use std::collections::HashMap;
use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::caller::ConnectionId;
use crate::quota::ASSURED_CALLS;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::waiters::Waiters;

/// The most waiting calls, beside the guaranteed share of each connection. Decrypts share their calls, so this many
/// wait only if something is very wrong.
pub(super) const LONGEST: usize = 1024;

/// A call and its waiters.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) call: Call,
    waiters: Waiters,
    answer: oneshot::Sender<Result<Outcome, Error>>,
    /// A worker was lost while it had this call.
    lost: bool,
}

impl Request {
    pub(super) fn new(call: Call, waiters: Waiters) -> (Self, oneshot::Receiver<Result<Outcome, Error>>) {
        let (answer, answered) = oneshot::channel();
        let request = Self {
            call,
            waiters,
            answer,
            lost: false,
        };
        (request, answered)
    }

    /// A worker begins the call.
    pub(super) fn begin(&self) {
        self.waiters.begin();
    }

    /// When its last waiter gives up; `None` for the daemon's own calls.
    pub(super) fn until(&self) -> Option<Instant> {
        self.waiters.deadline()
    }

    /// Answers. A waiter that has gone away is ignored.
    pub(super) fn answer(self, result: Result<Outcome, Error>) {
        self.answer.send(result).ok();
    }

    /// Its worker was lost. Returns the call if the next worker may repeat it; otherwise answers it.
    pub(super) fn survive(mut self, cause: &Error) -> Option<Self> {
        if !self.may_be_repeated() {
            let error = if self.call.can_be_repeated() {
                cause.clone()
            } else {
                let message = "the token worker was lost during a change: check whether the change was made";
                Error::new(Kind::Outage, message).because(cause.clone())
            };
            self.answer(Err(error));
            return None;
        }
        self.lost = true;
        Some(self)
    }

    /// Whether another worker may repeat it: it changes nothing, and has not cost a worker yet.
    pub(super) fn may_be_repeated(&self) -> bool {
        !self.lost && self.call.can_be_repeated()
    }

    pub(super) fn is_waited_for(&self) -> bool {
        !self.answer.is_closed()
    }

    fn connections(&self) -> Vec<Option<ConnectionId>> {
        let mut connections = Vec::new();
        self.waiters
            .visit_connections(|connection| connections.push(connection));
        connections
    }
}

/// Fair queueing. The daemon's own calls come first: its probe must not wait behind a storm. Callers' calls are served
/// round-robin over connections, and FIFO within one, so a connection with hundreds of unwraps delays only its own. A
/// shared call runs at the earliest turn of any of its waiters, so a waiter that joins a call in a storm does not wait
/// for the storm.
#[derive(Debug, Default)]
pub(super) struct CallQueue {
    own: VecDeque<Request>,
    /// In the order of arrival.
    callers: VecDeque<Request>,
    /// The order of the turns. A new connection is last: at most one call of each earlier connection precedes its first
    /// call, however many are opened meanwhile.
    turns: VecDeque<Option<ConnectionId>>,
}

impl CallQueue {
    /// Adds a call at the end, or answers that there are too many.
    pub(super) fn push(&mut self, request: Request) {
        if self.callers.len() >= LONGEST {
            self.callers.retain(Request::is_waited_for);
        }
        if request.until().is_none() {
            self.own.push_back(request);
        } else if self.callers.len() < LONGEST || self.is_assured(&request) {
            self.callers.push_back(request);
        } else {
            request.answer(Err(too_many()));
        }
    }

    /// Puts calls back at the front, in their order: they were here first.
    pub(super) fn put_back(&mut self, requests: Vec<Request>) {
        for request in requests.into_iter().rev() {
            match request.until() {
                None => self.own.push_front(request),
                Some(_) => self.callers.push_front(request),
            }
        }
    }

    /// The next call with a waiter. Drops calls without one.
    pub(super) fn next(&mut self) -> Option<Request> {
        while let Some(request) = self.own.pop_front() {
            if request.is_waited_for() {
                return Some(request);
            }
        }
        let Self { callers, turns, .. } = self;
        callers.retain(Request::is_waited_for);
        // Others may have joined this call since its connections were noted.
        for request in &*callers {
            request.waiters.visit_connections(|connection| {
                if !turns.contains(&connection) {
                    turns.push_back(connection);
                }
            });
        }
        while let Some(connection) = turns.pop_front() {
            if let Some(place) = callers.iter().position(|request| request.waiters.include(connection)) {
                turns.push_back(connection);
                return callers.remove(place);
            }
        }
        // The remaining calls lost their waiters just now; only a call that had begun is left.
        callers.pop_front()
    }

    /// The number of waiting calls, including those without a waiter.
    pub(super) fn len(&self) -> usize {
        self.own.len() + self.callers.len()
    }

    /// The number of calls with a waiter that would begin before this one, in the current order of turns.
    pub(super) fn before(&self, request: &Request) -> usize {
        let own = self.own.iter().filter(|request| request.is_waited_for()).count();
        let mut waiting = HashMap::<_, usize>::new();
        for request in self.callers.iter().filter(|request| request.is_waited_for()) {
            // The choice among the turns of a shared call changes little.
            let connection = request.connections().into_iter().next().flatten();
            *waiting.entry(connection).or_default() += 1;
        }
        let place = |connection| self.turns.iter().position(|other| *other == connection);
        let before_turn_of = |connection: Option<ConnectionId>| {
            let ahead = waiting.get(&connection).copied().unwrap_or_default();
            let own_place = place(connection);
            let others = waiting.iter().filter(|(other, _)| **other != connection);
            let others = others.map(|(other, waiting)| {
                let is_earlier = own_place.is_none_or(|own| place(*other).is_some_and(|other| other < own));
                (*waiting).min(ahead + usize::from(is_earlier))
            });
            ahead + others.sum::<usize>()
        };
        let callers = request.connections().into_iter().map(before_turn_of).min();
        own + callers.unwrap_or_default()
    }

    /// Whether one of its connections has few calls here. Such a call is accepted however many others wait.
    /// Counted anew, and not by a [`Quota`](crate::quota::Quota): a call belongs to every connection whose callers wait
    /// for it, and these callers come and go while it waits.
    fn is_assured(&self, request: &Request) -> bool {
        request.connections().into_iter().any(|connection| {
            let of_connection = |request: &&Request| request.is_waited_for() && request.waiters.include(connection);
            connection.is_some() && self.callers.iter().filter(of_connection).count() < ASSURED_CALLS
        })
    }

    /// Whether any call has a waiter.
    pub(super) fn is_waited_for(&self) -> bool {
        self.all().any(Request::is_waited_for)
    }

    /// Answers all calls.
    pub(super) fn answer_all(&mut self, error: &Error) {
        for request in self.own.drain(..).chain(self.callers.drain(..)) {
            request.answer(Err(error.clone()));
        }
    }

    fn all(&self) -> impl Iterator<Item = &Request> {
        self.own.iter().chain(&self.callers)
    }
}

pub(super) fn too_many() -> Error {
    let message = format!("{LONGEST} calls already wait for the token");
    Error::new(Kind::Busy, message)
}

pub(super) fn too_late() -> Error {
    Error::new(
        Kind::Busy,
        "too many calls wait for the token: this one would begin too late",
    )
}

#[cfg(test)]
mod tests;
