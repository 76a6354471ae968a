//! Makes calls, each on the session of its thread, and acts on what the parts decide.

mod doubt;

use std::time::Duration;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Answer;
use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::worker::absence::AbsenceVerdict;
use crate::backend::pkcs11::worker::execute::Progress;
use crate::backend::pkcs11::worker::job::Doubt;
use crate::backend::pkcs11::worker::job::Job;
use crate::backend::pkcs11::worker::queue::Work;
use crate::backend::pkcs11::worker::recovery::Decision;
use crate::backend::pkcs11::worker::recovery::Recovery;
use crate::backend::pkcs11::worker::recovery::RecoveryStep;
use crate::backend::pkcs11::worker::service::Service;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::token::error::TokenError;
use crate::token::login;
use crate::token::problem::CallError;
use crate::token::problem::Failure;
use crate::token::return_value::Remedy;

/// The longest pause of a discovery, or of an unwrap in doubt, that is announced to the daemon. The queue gives up an
/// unwrap earlier.
const WAIT_AS_TOLD: Duration = Duration::from_secs(60);

/// The result of the work on a job.
pub(super) enum JobOutcome {
    Answered(Result<Outcome, Failure>),
    /// The unwrap failed with an error that a bad ciphertext can cause; a canary must decide.
    Doubtful {
        doubt: Doubt,
        /// It failed with an error of a missing permission.
        refused: bool,
    },
    /// A discovery has used up its time slice.
    Underway {
        recovery: Recovery,
        left: usize,
    },
}

/// The meaning of an unwrap's failure that a bad ciphertext can cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnBadCiphertext {
    /// A canary decides.
    Suspect,
    /// A canary has opened: the failure counts, unless the connection was replaced during the call.
    Final,
}

impl Service {
    /// Works on the session of this number until no work is left.
    pub(super) fn run(&self, session_index: usize) {
        while let Some(work) = self.queue.next() {
            match work {
                Work::Call(job) => self.serve(session_index, job),
                Work::Canary(doubt, doubtful) => self.settle(session_index, &doubt, doubtful),
                Work::Again(job) => self.judge(session_index, job),
                Work::Overdue(jobs) => self.give_up_doubts(jobs),
            }
        }
    }

    fn serve(&self, session_index: usize, job: Job) {
        if job.discovery.is_some() {
            self.outlet.restart_timeout(job.number);
        }
        match self.call_with_recovery(session_index, &job, OnBadCiphertext::Suspect) {
            JobOutcome::Answered(result) => self.answer(job.number, result),
            JobOutcome::Doubtful { doubt, .. } => self.doubt(doubt, job),
            JobOutcome::Underway { recovery, left } => self.put_back(job, recovery, left),
        }
    }

    /// Puts a discovery back to wait for its next time slice, and frees the session for others.
    fn put_back(&self, mut job: Job, recovery: Recovery, left: usize) {
        self.end_time_slice(&mut job, recovery, left);
        self.outlet.extend_deadline(Paused::Call(job.number), WAIT_AS_TOLD);
        self.queue.push(job);
    }

    /// Makes a call, and takes the steps of recovery after a failure, until the call succeeds or no step is left.
    pub(super) fn call_with_recovery(
        &self,
        session_index: usize,
        job: &Job,
        on_bad_ciphertext: OnBadCiphertext,
    ) -> JobOutcome {
        let mut recovery = job
            .discovery
            .as_ref()
            .map(|discovery| discovery.recovery.clone())
            .unwrap_or_default();
        loop {
            let generation = self.sessions.generation();
            let problem = match self.attempt(session_index, job) {
                Ok(Progress::Underway { left }) => return JobOutcome::Underway { recovery, left },
                Ok(Progress::Done(outcome)) => {
                    self.activity.note(&job.call);
                    return JobOutcome::Answered(Ok(outcome));
                }
                Err(problem) => problem,
            };
            if let (Call::Unwrap { id, wrapped }, CallError::Token(error)) = (&job.call, &problem)
                && error.may_be_the_ciphertext()
                && (on_bad_ciphertext == OnBadCiphertext::Suspect || generation == self.sessions.generation())
            {
                self.sessions.leave(session_index);
                return JobOutcome::Doubtful {
                    doubt: Doubt {
                        id: id.clone(),
                        mechanism: wrapped.mechanism,
                    },
                    refused: error.remedy() == Remedy::Nothing,
                };
            }
            if let Err(failure) = self.recover(session_index, job, problem, &mut recovery, generation) {
                return JobOutcome::Answered(Err(failure));
            }
        }
    }

    /// Pauses for an overloaded token, or takes the next step of recovery. An error is final: nothing else helps.
    pub(super) fn recover(
        &self,
        session_index: usize,
        job: &Job,
        problem: CallError,
        recovery: &mut Recovery,
        generation: u64,
    ) -> Result<(), Failure> {
        self.sessions.leave(session_index);
        let error = match problem {
            CallError::Final(failure) => return Err(failure),
            CallError::Token(error) => error,
        };
        if !job.call.can_be_repeated() && !matches!(error.remedy(), Remedy::Session | Remedy::Login) {
            // Whether the call took effect is unknown.
            return Err(explain(&job.call, error, true));
        }
        let call_timeout = self.assignment.options.call_timeout;
        let step = match recovery.decide(&error, self.activity.has_just_worked(), call_timeout) {
            Decision::Pause(pause) => {
                self.pause(job.number, &error, pause);
                return Ok(());
            }
            Decision::Fail => return Err(explain(&job.call, error, false)),
            Decision::Take(RecoveryStep::Worker) => return self.give_up(&job.call, error),
            Decision::Take(step) => step,
        };
        // Not a warning: in an outage each attempt comes here, and the daemon logs the begin and the end.
        let told = format!("{error}; {}", describe(step));
        self.outlet.say(Level::Debug, told);
        let done = match step {
            RecoveryStep::Session => {
                self.forget_key(&job.call);
                Ok(())
            }
            RecoveryStep::Worker => Ok(()),
            RecoveryStep::Login => self.sessions.log_in_again(generation),
            RecoveryStep::Module => {
                self.sessions.reconnect(generation);
                Ok(())
            }
        };
        match done {
            Err(CallError::Final(failure)) => Err(failure),
            // If it failed, the next attempt fails for the same reason, and takes the next step.
            Ok(()) | Err(CallError::Token(_)) => Ok(()),
        }
    }

    /// Lets an overloaded token rest. The time limit of the call restarts before and after the pause.
    fn pause(&self, job: u64, error: &TokenError, pause: Duration) {
        let told = format!("{error}; backs off for {} ms", pause.as_millis());
        self.outlet.say(Level::Debug, told);
        self.outlet.restart_timeout(job);
        std::thread::sleep(pause);
        self.outlet.restart_timeout(job);
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
            self.sessions.with_token(|open| open.finder().forget_key(id));
        }
    }

    /// Only the end of this worker is left to try. A missing object may be proven gone; then a list without it is right.
    fn give_up(&self, call: &Call, error: TokenError) -> Result<(), Failure> {
        let missing = match &error {
            TokenError::NotFound(id) => vec![Some(id.clone())],
            TokenError::Incomplete(missing) => missing.clone(),
            _ => return Err(explain(call, error, true)),
        };
        let confirmed = self
            .sessions
            .with_token(|open| open.token().login() == login::LoginProof::Confirmed);
        match (self.absence.judge(missing, confirmed.unwrap_or(false)), call) {
            (AbsenceVerdict::Gone, Call::Find { .. }) => Ok(()),
            (AbsenceVerdict::Gone, _) => Err(Error::new(Kind::Refusal, call.doing()).because(error).into()),
            (verdict @ (AbsenceVerdict::NotYet | AbsenceVerdict::AskFresh), _) => Err(Failure {
                ends_worker: verdict == AbsenceVerdict::AskFresh,
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
        _ if error.remedy() == Remedy::Nothing && error.value().is_some() => Kind::Refusal,
        _ => Kind::Outage,
    };
    Failure {
        // A missing library may have been installed meanwhile, but the dynamic linker of this process does not look
        // again.
        ends_worker: ends_worker || matches!(error, TokenError::Load { .. }),
        pin_rejected: error.remedy() == Remedy::Pin,
        error: Error::new(kind, call.doing()).because(error),
    }
}

fn describe(step: RecoveryStep) -> &'static str {
    match step {
        RecoveryStep::Session => "opens a new session",
        RecoveryStep::Login => "logs in again",
        RecoveryStep::Module => "initialises the module again",
        RecoveryStep::Worker => "ends",
    }
}

#[cfg(test)]
mod tests;
