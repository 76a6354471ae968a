//! Makes calls, each on the session of its thread, with the recovery ladder.

use std::time::Duration;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Answer;
use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::worker::absence::Verdict;
use crate::backend::pkcs11::worker::execute::Progress;
use crate::backend::pkcs11::worker::job::Doubt;
use crate::backend::pkcs11::worker::job::Job;
use crate::backend::pkcs11::worker::queue::Work;
use crate::backend::pkcs11::worker::recovery::Ladder;
use crate::backend::pkcs11::worker::recovery::Rung;
use crate::backend::pkcs11::worker::service::Service;
use crate::backend::pkcs11::worker::service::lock;
use crate::backend::pkcs11::worker::throttle::Throttled;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::token::error::TokenError;
use crate::token::login;
use crate::token::problem::CallError;
use crate::token::problem::Failure;
use crate::token::return_value::Remedy;

/// The result of one step of a job.
pub(super) enum Step {
    Answered(Result<Outcome, Failure>),
    /// The unwrap failed with an error that a bad ciphertext can cause; a canary must decide.
    Doubtful {
        doubt: Doubt,
        /// It failed with an error of a missing permission.
        refused: bool,
    },
    /// A discovery has used up its stretch.
    Underway {
        ladder: Ladder,
        left: usize,
    },
}

impl Service {
    /// Works on the session of this number until no work is left.
    pub(super) fn run(&self, seat: usize) {
        while let Some(work) = self.queue.next() {
            match work {
                Work::Call(job) => self.serve(seat, job),
                Work::Canary(doubt, doubtful) => self.settle(seat, &doubt, doubtful),
                Work::Again(job) => self.judge(seat, job),
                Work::Overdue(jobs) => self.give_up_doubts(jobs),
            }
        }
    }

    fn serve(&self, seat: usize, job: Job) {
        if job.stretches.is_some() {
            self.outlet.extend_deadline(Paused::Call(job.number), Duration::ZERO);
        }
        match self.climb(seat, &job, true) {
            Step::Answered(result) => self.answer(job.number, result),
            Step::Doubtful { doubt, .. } => self.doubt(doubt, job),
            Step::Underway { ladder, left } => self.put_back(job, ladder, left),
        }
    }

    /// Makes a call, and climbs the ladder after a failure, until the call succeeds or no rung is left. `doubts`: the
    /// first failure that a bad ciphertext can cause is left to a canary.
    pub(super) fn climb(&self, seat: usize, job: &Job, doubts: bool) -> Step {
        let mut ladder = job
            .stretches
            .as_ref()
            .map(|stretches| stretches.ladder.clone())
            .unwrap_or_default();
        loop {
            let generation = *lock(&self.generation);
            let problem = match self.attempt(seat, job) {
                Ok(Progress::Underway { left }) => return Step::Underway { ladder, left },
                Ok(Progress::Done(outcome)) => {
                    self.note_work(&job.call);
                    return Step::Answered(Ok(outcome));
                }
                Err(problem) => problem,
            };
            if let (Call::Unwrap { id, wrapped }, CallError::Token(error)) = (&job.call, &problem)
                && error.may_be_the_ciphertext()
                && (doubts || generation == *lock(&self.generation))
            {
                self.leave(seat);
                return Step::Doubtful {
                    doubt: Doubt {
                        id: id.clone(),
                        mechanism: wrapped.mechanism,
                    },
                    refused: error.cure() == Remedy::Nothing,
                };
            }
            if let Err(failure) = self.recover(seat, job, problem, &mut ladder, generation) {
                return Step::Answered(Err(failure));
            }
        }
    }

    fn note_work(&self, call: &Call) {
        let now = Some(self.clock.boottime());
        match call {
            Call::Unwrap { .. } => {
                *lock(&self.opened) = now;
                *lock(&self.worked) = now;
            }
            Call::Wrap { .. } => *lock(&self.worked) = now,
            // An answer alone does not show that the token works.
            _ => {}
        }
    }

    /// Pauses for an overloaded token, or takes the next rung of the ladder. An error is final: nothing else helps.
    pub(super) fn recover(
        &self,
        seat: usize,
        job: &Job,
        problem: CallError,
        ladder: &mut Ladder,
        generation: u64,
    ) -> Result<(), Failure> {
        self.leave(seat);
        let error = match problem {
            CallError::Final(failure) => return Err(failure),
            CallError::Token(error) => error,
        };
        if !job.call.can_be_repeated() && !matches!(error.cure(), Remedy::Session | Remedy::Login) {
            // Whether the call took effect is unknown.
            return Err(explain(&job.call, error, true));
        }
        match self.back_off(job, &error, &mut ladder.pauses) {
            Throttled::No => {}
            Throttled::Paused => return Ok(()),
            Throttled::Still => return Err(explain(&job.call, error, false)),
        }
        let rung = match ladder.climb(error.cure()) {
            None => return Err(explain(&job.call, error, false)),
            Some(Rung::Worker) => return self.give_up(&job.call, error),
            Some(rung) => rung,
        };
        // Not a warning: in an outage each attempt comes here, and the daemon logs the begin and the end.
        let told = format!("{error}; {}", describe(rung));
        self.outlet.say(Level::Debug, told);
        let climbed = match rung {
            Rung::Session => {
                self.forget_key(&job.call);
                Ok(())
            }
            Rung::Worker => Ok(()),
            Rung::Login => self.log_in_again(generation),
            Rung::Module => {
                self.reconnect(generation);
                Ok(())
            }
        };
        match climbed {
            Err(CallError::Final(failure)) => Err(failure),
            // If it failed, the next attempt fails for the same reason, and climbs on.
            Ok(()) | Err(CallError::Token(_)) => Ok(()),
        }
    }

    /// The handles of a key change with its sessions, so it is searched again.
    fn forget_key(&self, call: &Call) {
        if let Call::Unwrap { id, .. }
        | Call::Wrap { id, .. }
        | Call::Probe { id: Some(id) }
        | Call::Attributes { id }
        | Call::Relabel { id, .. }
        | Call::Destroy { id } = call
        {
            self.with_token(|token| token.finder().forget_key(id));
        }
    }

    /// No rung is left but the last. A missing object may be proven gone; then a list without it is right.
    fn give_up(&self, call: &Call, error: TokenError) -> Result<(), Failure> {
        let missing = match &error {
            TokenError::NotFound(id) => vec![Some(id.clone())],
            TokenError::Incomplete(missing) => missing.clone(),
            _ => return Err(explain(call, error, true)),
        };
        let confirmed = self.with_token(|token| token.login() == login::Proof::Confirmed);
        let confirmed = confirmed.unwrap_or(false);
        let now = self.clock.boottime();
        let mut sightings = lock(&self.sightings);
        let verdicts = missing.into_iter().map(|what| sightings.missed(what, confirmed, now));
        match (verdicts.min().unwrap_or(Verdict::NotYet), call) {
            (Verdict::Gone, Call::Find { .. }) => Ok(()),
            (Verdict::Gone, _) => Err(Error::new(Kind::Refusal, call.doing()).because(error).into()),
            (verdict @ (Verdict::NotYet | Verdict::AskFresh), _) => Err(Failure {
                ends_worker: verdict == Verdict::AskFresh,
                ..Error::new(Kind::Outage, call.doing()).because(error).into()
            }),
        }
    }

    pub(super) fn answer(&self, number: u64, result: Result<Outcome, Failure>) {
        let ends = result.as_ref().is_err_and(|failure| failure.ends_worker);
        self.outlet.answer(Answer {
            number,
            memory: super::memory(),
            result,
        });
        if ends {
            super::end();
        }
    }
}

/// The final error of a failed call.
fn explain(call: &Call, error: TokenError, ends_worker: bool) -> Failure {
    let kind = match &error {
        TokenError::Misbehaved(_) => Kind::Corruption,
        TokenError::Refused(_) => Kind::Refusal,
        _ if error.cure() == Remedy::Nothing && error.value().is_some() => Kind::Refusal,
        _ => Kind::Outage,
    };
    Failure {
        // A missing library may have been installed meanwhile, but the dynamic linker of this process does not look
        // again.
        ends_worker: ends_worker || matches!(error, TokenError::Load { .. }),
        pin_rejected: error.cure() == Remedy::Pin,
        error: Error::new(kind, call.doing()).because(error),
    }
}

fn describe(rung: Rung) -> &'static str {
    match rung {
        Rung::Session => "opens a new session",
        Rung::Login => "logs in again",
        Rung::Module => "initialises the module again",
        Rung::Worker => "ends",
    }
}

#[cfg(test)]
mod tests;
