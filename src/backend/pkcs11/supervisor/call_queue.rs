//! Calls that wait for a worker.

use std::collections::HashMap;
use std::collections::VecDeque;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::backend::pkcs11::protocol::call::Call;
use crate::backend::pkcs11::protocol::outcome::Outcome;
use crate::proto::asker::Origin;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::patience::Patience;

/// So many wait, beside those that each origin is assured of. Decrypts share their calls, so there are never that many
/// unless something is very wrong.
pub(super) const LONGEST: usize = 1024;

/// A call and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) call: Call,
    patience: Patience,
    answer: oneshot::Sender<Result<Outcome, Error>>,
    /// A worker was lost with it.
    lost: bool,
}

impl Request {
    pub(super) fn new(call: Call, patience: Patience) -> (Self, oneshot::Receiver<Result<Outcome, Error>>) {
        let (answer, answered) = oneshot::channel();
        let request = Self {
            call,
            patience,
            answer,
            lost: false,
        };
        (request, answered)
    }

    /// A worker begins it.
    pub(super) fn begin(&self) {
        self.patience.begin();
    }

    /// When nobody waits for it any more; `None` for the daemon's own.
    pub(super) fn until(&self) -> Option<Instant> {
        self.patience.until()
    }

    /// Answers. Who went away does not want to know.
    pub(super) fn answer(self, result: Result<Outcome, Error>) {
        self.answer.send(result).ok();
    }

    /// The worker that had begun it is lost. Returns it if the next one may repeat it, else answers.
    pub(super) fn survive(mut self, cause: &Error) -> Option<Self> {
        if !self.may_be_repeated() {
            let error = if self.call.can_be_repeated() {
                cause.clone()
            } else {
                let message = "the token worker was lost in the middle of a change: look whether it was done";
                Error::new(Kind::Outage, message).because(cause.clone())
            };
            self.answer(Err(error));
            return None;
        }
        self.lost = true;
        Some(self)
    }

    /// Whether another worker may do it as well: it changes nothing, and has not cost one yet.
    pub(super) fn may_be_repeated(&self) -> bool {
        !self.lost && self.call.can_be_repeated()
    }

    pub(super) fn is_waited_for(&self) -> bool {
        !self.answer.is_closed()
    }

    fn origins(&self) -> Vec<Option<Origin>> {
        let mut origins = Vec::new();
        self.patience.visit_origins(|origin| origins.push(origin));
        origins
    }
}

/// What the daemon asks for itself goes before what callers ask for: its probe tells how the token is, and must not wait
/// behind a storm. Callers take turns by their origins, and within one it is first come, first served: whoever asks for
/// hundreds of unwraps waits for his own. A call for several callers goes at the first turn that one of them has: who
/// joins a call in a storm does not wait for the storm.
#[derive(Debug, Default)]
pub(super) struct Queue {
    own: VecDeque<Request>,
    /// In the order in which they came.
    callers: VecDeque<Request>,
    /// Whose turn it is. Who comes new is last: before a call there is one of each who was here, and no more, however
    /// many connect meanwhile.
    turns: VecDeque<Option<Origin>>,
}

impl Queue {
    /// Puts a call behind the others, or answers that there are too many.
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

    /// Puts calls before the others, in their order: they were here first.
    pub(super) fn put_back(&mut self, requests: Vec<Request>) {
        for request in requests.into_iter().rev() {
            match request.until() {
                None => self.own.push_front(request),
                Some(_) => self.callers.push_front(request),
            }
        }
    }

    /// The next call that somebody waits for. The others are dropped.
    pub(super) fn next(&mut self) -> Option<Request> {
        while let Some(request) = self.own.pop_front() {
            if request.is_waited_for() {
                return Some(request);
            }
        }
        let Self { callers, turns, .. } = self;
        callers.retain(Request::is_waited_for);
        // Others may have joined since these came.
        for request in &*callers {
            request.patience.visit_origins(|origin| {
                if !turns.contains(&origin) {
                    turns.push_back(origin);
                }
            });
        }
        while let Some(origin) = turns.pop_front() {
            if let Some(place) = callers.iter().position(|request| request.patience.is_of(origin)) {
                turns.push_back(origin);
                return callers.remove(place);
            }
        }
        // What is left has lost its callers in this moment, and had begun before.
        callers.pop_front()
    }

    /// How many calls wait, those included that nobody waits for any more.
    pub(super) fn len(&self) -> usize {
        self.own.len() + self.callers.len()
    }

    /// How many calls that somebody waits for would begin before this one, as the turns are now.
    pub(super) fn before(&self, request: &Request) -> usize {
        let own = self.own.iter().filter(|request| request.is_waited_for()).count();
        let mut waiting = HashMap::<_, usize>::new();
        for request in self.callers.iter().filter(|request| request.is_waited_for()) {
            // At whose turn a shared one goes changes little.
            let origin = request.origins().into_iter().next().flatten();
            *waiting.entry(origin).or_default() += 1;
        }
        let place = |origin| self.turns.iter().position(|other| *other == origin);
        let before_turn_of = |origin: Option<Origin>| {
            let ahead = waiting.get(&origin).copied().unwrap_or_default();
            let own_place = place(origin);
            let others = waiting.iter().filter(|(other, _)| **other != origin);
            let others = others.map(|(other, waiting)| {
                let is_earlier = own_place.is_none_or(|own| place(*other).is_some_and(|other| other < own));
                (*waiting).min(ahead + usize::from(is_earlier))
            });
            ahead + others.sum::<usize>()
        };
        let callers = request.origins().into_iter().map(before_turn_of).min();
        own + callers.unwrap_or_default()
    }

    /// Whether one of its callers has few calls here, so that it waits however many others do.
    fn is_assured(&self, request: &Request) -> bool {
        request.origins().into_iter().any(|origin| {
            let of_origin = |request: &&Request| request.is_waited_for() && request.patience.is_of(origin);
            origin.is_some() && self.callers.iter().filter(of_origin).count() < Origin::ASSURED
        })
    }

    /// Whether somebody waits.
    pub(super) fn is_waited_for(&self) -> bool {
        self.all().any(Request::is_waited_for)
    }

    /// Answers all.
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
    let message = format!("{LONGEST} calls wait for the token already");
    Error::new(Kind::Busy, message)
}

pub(super) fn too_late() -> Error {
    Error::new(
        Kind::Busy,
        "so many calls wait for the token that this would begin too late",
    )
}

#[cfg(test)]
mod tests;
