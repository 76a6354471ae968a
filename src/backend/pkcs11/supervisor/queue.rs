//! Calls that wait for a worker.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use crate::backend::pkcs11::protocol::call::Call;
use crate::backend::pkcs11::protocol::outcome::Outcome;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;

/// So many wait. Decrypts share their calls, so there are never that many unless something is very wrong.
pub(super) const LONGEST: usize = 1024;

/// A call and who waits for it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) call: Call,
    answer: oneshot::Sender<Result<Outcome, Error>>,
    /// A worker was lost with it.
    lost: bool,
}

impl Request {
    pub(super) fn new(call: Call) -> (Self, oneshot::Receiver<Result<Outcome, Error>>) {
        let (answer, answered) = oneshot::channel();
        let lost = false;
        (Self { call, answer, lost }, answered)
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

    fn is_waited_for(&self) -> bool {
        !self.answer.is_closed()
    }
}

/// First come, first served.
#[derive(Debug, Default)]
pub(super) struct Queue(VecDeque<Request>);

impl Queue {
    /// Puts a call behind the others, or answers that there are too many.
    pub(super) fn push(&mut self, request: Request) {
        if self.0.len() >= LONGEST {
            self.0.retain(Request::is_waited_for);
        }
        if self.0.len() >= LONGEST {
            request.answer(Err(too_many()));
        } else {
            self.0.push_back(request);
        }
    }

    /// Puts calls before the others, in their order: they were here first.
    pub(super) fn put_back(&mut self, requests: Vec<Request>) {
        for request in requests.into_iter().rev() {
            self.0.push_front(request);
        }
    }

    /// The next call that somebody waits for. The others are dropped.
    pub(super) fn next(&mut self) -> Option<Request> {
        while let Some(request) = self.0.pop_front() {
            if request.is_waited_for() {
                return Some(request);
            }
        }
        None
    }

    /// Whether somebody waits.
    pub(super) fn is_waited_for(&self) -> bool {
        self.0.iter().any(Request::is_waited_for)
    }

    /// Answers all.
    pub(super) fn answer_all(&mut self, error: &Error) {
        for request in self.0.drain(..) {
            request.answer(Err(error.clone()));
        }
    }
}

pub(super) fn too_many() -> Error {
    let message = format!("{LONGEST} calls wait for the token already");
    Error::new(Kind::Outage, message)
}
