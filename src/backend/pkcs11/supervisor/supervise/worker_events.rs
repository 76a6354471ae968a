//! The end of workers, and of the calls that they have begun.

use std::io::ErrorKind;

use tokio::time::Instant;

use super::FailedWorker;
use super::Supervision;
use crate::backend::pkcs11::ipc::ProtocolError;
use crate::backend::pkcs11::ipc::message::Answer;
use crate::backend::pkcs11::spawner::WorkerNumber;
use crate::backend::pkcs11::supervisor::GRACE;
use crate::backend::pkcs11::supervisor::handshake::pause;
use crate::backend::pkcs11::supervisor::journal::Reason;
use crate::backend::pkcs11::supervisor::link::Heard;
use crate::backend::pkcs11::supervisor::supervise::successor::Change;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::token::problem::Failure;

impl Supervision {
    pub(super) fn hear(&mut self, worker: WorkerNumber, heard: Heard) {
        match heard {
            Heard::Event(level, message) => self.journal.events().tell(level, &message),
            Heard::Answer(answer) => self.answered(worker, answer),
            Heard::ExtendDeadline(more) => {
                if let Some(active) = self.active_worker(worker) {
                    active.extend_deadline(more.of, pause(more));
                }
            }
            Heard::Lost(error) => {
                let message = match &error {
                    ProtocolError::Channel(error) if error.kind() == ErrorKind::UnexpectedEof => {
                        Error::new(Kind::Outage, "the token worker has died")
                    }
                    _ => Error::new(Kind::Outage, "a message of the token worker cannot be read").because(error),
                };
                self.lost(worker, Reason::Died, &message, Instant::now());
            }
        }
    }

    fn answered(&mut self, worker: WorkerNumber, answer: Answer) {
        let now = Instant::now();
        let Answer { number, memory, result } = answer;
        let is_current = self.current.as_ref().is_some_and(|active| active.worker == worker);
        let Some(active) = self.active_worker(worker) else {
            // The worker was lost before its message was processed.
            return;
        };
        let Some(request) = active.done(number) else {
            let error = Error::new(Kind::Outage, "unexpected reply from the token worker");
            self.lost(worker, Reason::Died, &error, now);
            return;
        };
        let is_too_large = is_current && active.is_too_large(memory);
        let failure = result.as_ref().err().cloned();
        let error = failure.as_ref().map(|failure| &failure.error);
        self.journal.called(&request.call, error.map_or(Ok(()), Err));
        let good = error.is_none_or(Error::shows_a_working_root_key);
        let fresh = |failure: &Failure| failure.ends_worker && !failure.pin_rejected;
        match &failure {
            // A fresh worker may succeed where this one cannot.
            Some(failure) if fresh(failure) && request.may_be_repeated() => {
                self.queue
                    .put_back(request.survive(&failure.error).into_iter().collect());
            }
            _ => request.answer(result.map_err(|failure| failure.error)),
        }
        if is_current {
            self.journal.memory(memory);
        }
        if let Some(failure) = failure {
            if failure.ends_worker {
                self.lost(worker, Reason::Asked, &failure.error, now);
                if is_current {
                    self.note_pin(&failure, FailedWorker::Gone, now);
                }
                return;
            }
            self.note_pin(&failure, FailedWorker::Serves, now);
        }
        if !is_current {
            self.dismiss_idle(now);
        } else if self.successor.is_unwanted() {
            if good {
                self.successor.forget_failures();
            }
            if is_too_large {
                self.journal.too_large(memory, self.limits.memory);
                self.successor.change(Change::TooLarge);
            }
        }
    }

    /// A call has exceeded its time limit: only the end of the worker helps.
    pub(super) fn hung(&mut self, worker: WorkerNumber, now: Instant) {
        let overdue = self
            .active_worker(worker)
            .map(|active| active.take_overdue(now))
            .unwrap_or_default();
        let mut first = None;
        for (request, limit) in overdue {
            let silence = Error::new(Kind::Outage, format!("the token did not answer within {limit:?}"));
            let error = Error::new(Kind::Outage, request.call.doing()).because(silence);
            self.journal.called(&request.call, Err(&error));
            request.answer(Err(error.clone()));
            first.get_or_insert(error);
        }
        // Its error names the call that has cost the others their worker.
        if let Some(error) = first {
            self.lost(worker, Reason::Hung, &error, now);
        }
    }

    /// A worker is unusable. Its calls are repeated if that does no harm.
    fn lost(&mut self, worker: WorkerNumber, reason: Reason, cause: &Error, now: Instant) {
        let is_current = self.current.as_ref().is_some_and(|active| active.worker == worker);
        let active = if is_current {
            self.current.take()
        } else {
            let index = self.retiring.iter().position(|active| active.worker == worker);
            index.map(|index| self.retiring.swap_remove(index))
        };
        let Some(active) = active else {
            return;
        };
        let begun = active.leave();
        for request in &begun {
            self.journal.called(&request.call, Err(cause));
        }
        self.queue
            .put_back(begun.into_iter().filter_map(|request| request.survive(cause)).collect());
        // As for a new call: a rejected PIN is not tried for it.
        if let Some(rejected) = self.rejected.clone() {
            self.answer_queued(&rejected);
        }
        // A worker that requested its replacement ends by itself, and should be able to log out of its token.
        match reason {
            Reason::Asked => self.leaving.push((now + GRACE, worker)),
            _ => self.kill(worker, now),
        }
        if is_current {
            self.journal.lost(reason, cause, self.workers.printed().as_deref());
            self.successor.change(Change::Lost(reason, now));
        }
    }

    /// Ends replaced workers that have finished their calls.
    pub(super) fn dismiss_idle(&mut self, now: Instant) {
        let until = now + self.limits.call_timeout;
        for active in self.retiring.extract_if(.., |active| active.is_idle()) {
            self.leaving.push((until, active.worker));
        }
    }

    pub(super) fn kill(&mut self, worker: WorkerNumber, now: Instant) {
        // A spawner that does not read now may do so later; the end of the spawner ends its workers.
        if self
            .workers
            .kill(worker)
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        {
            self.leaving.push((now + GRACE, worker));
        }
    }
}
