//! Serves calls: each on a session of its thread, with the recovery ladder behind it.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use cryptoki::context::Pkcs11;

use crate::backend::pkcs11::assignment::Assignment;
use crate::backend::pkcs11::proof_record::ProofRecord;
use crate::backend::pkcs11::protocol::call::Call;
use crate::backend::pkcs11::protocol::outcome::Answer;
use crate::backend::pkcs11::protocol::outcome::Failure;
use crate::backend::pkcs11::protocol::outcome::Outcome;
use crate::backend::pkcs11::worker::attempt::Progress;
use crate::backend::pkcs11::worker::canary::Canaries;
use crate::backend::pkcs11::worker::channel::Level;
use crate::backend::pkcs11::worker::channel::Outlet;
use crate::backend::pkcs11::worker::connection::Connection;
use crate::backend::pkcs11::worker::error::TokenError;
use crate::backend::pkcs11::worker::ladder::Ladder;
use crate::backend::pkcs11::worker::ladder::Rung;
use crate::backend::pkcs11::worker::login;
use crate::backend::pkcs11::worker::mechanism::Method;
use crate::backend::pkcs11::worker::missing::Sightings;
use crate::backend::pkcs11::worker::missing::Verdict;
use crate::backend::pkcs11::worker::pin_record::PinRecord;
use crate::backend::pkcs11::worker::problem::Problem;
use crate::backend::pkcs11::worker::proof::Pending;
use crate::backend::pkcs11::worker::queue::Doubt;
use crate::backend::pkcs11::worker::queue::Job;
use crate::backend::pkcs11::worker::queue::Queue;
use crate::backend::pkcs11::worker::queue::Work;
use crate::backend::pkcs11::worker::return_value::Cure;
use crate::backend::pkcs11::worker::throttle::Throttled;
use crate::clock::Clock;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;

/// What all threads of this process share.
pub(super) struct Service {
    pub(super) assignment: Assignment,
    pub(super) outlet: Outlet,
    pub(super) queue: Queue,
    /// For a thread of their own.
    pub(super) pending: Pending,
    pub(super) records: Option<PinRecord>,
    pub(super) proof_record: Option<ProofRecord>,
    /// Calls hold it for reading; whoever changes it waits for the last of them: `C_Finalize` around a call in flight
    /// kills or hangs the process.
    pub(super) connection: RwLock<Option<Connection>>,
    /// Counts connections, so that of several threads that saw one fail only the first replaces it.
    pub(super) generation: Mutex<u64>,
    /// The vendor's code stays where it is when the module is finalised.
    pub(super) library: OnceLock<Pkcs11>,
    /// How to wrap under a version, as its trial showed.
    pub(super) methods: Mutex<HashMap<KeyId, Settled>>,
    pub(super) canaries: Canaries,
    /// By which mechanisms the versions are recorded, as far as this process has looked.
    pub(super) recorded: Mutex<HashMap<KeyId, HashSet<Mechanism>>>,
    /// Versions whose objects were found to be another key than before, and when.
    pub(super) other_keys: Mutex<HashMap<KeyId, Duration>>,
    /// What was told once and is not told again.
    pub(super) told: Mutex<HashSet<String>>,
    sightings: Mutex<Sightings>,
    /// When an unwrap has last opened that had failed as one of a bad ciphertext does.
    pub(super) opened_again: Mutex<Option<Duration>>,
    /// When any unwrap has.
    pub(super) opened: Mutex<Option<Duration>>,
    /// When any wrap or unwrap has last succeeded.
    pub(super) worked: Mutex<Option<Duration>>,
    pub(super) clock: Clock,
}

/// How to wrap under a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) method: Method,
    pub(super) again: Option<AnotherTrial>,
}

/// A trial that may choose better.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnotherTrial {
    /// When it is due ([`Clock::boottime`]).
    pub(super) at: Duration,
    /// How long after the one before.
    pub(super) pause: Duration,
}

/// What came of one job.
pub(super) enum Step {
    Answered(Result<Outcome, Failure>),
    /// The unwrap failed as one of a bad ciphertext does; a canary must tell.
    Doubtful {
        doubt: Doubt,
        /// It failed as what is not permitted does.
        refused: bool,
    },
    /// A discovery has had its stretch.
    Underway {
        ladder: Ladder,
        left: usize,
    },
}

impl Service {
    pub(super) fn new(assignment: Assignment, outlet: Outlet, clock: Clock) -> Self {
        let records = assignment.state.as_deref().map(PinRecord::of);
        let proof_record = assignment.state.as_deref().map(ProofRecord::of);
        Self {
            assignment,
            outlet,
            queue: Queue::default(),
            pending: Pending::default(),
            records,
            proof_record,
            connection: RwLock::default(),
            generation: Mutex::default(),
            library: OnceLock::new(),
            methods: Mutex::default(),
            canaries: Canaries::default(),
            recorded: Mutex::default(),
            other_keys: Mutex::default(),
            told: Mutex::default(),
            sightings: Mutex::default(),
            opened_again: Mutex::default(),
            opened: Mutex::default(),
            worked: Mutex::default(),
            clock,
        }
    }

    /// Does work on the session of this number until there is no more.
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
            self.outlet.waiting(job.number, Duration::ZERO);
        }
        match self.climb(seat, &job, true) {
            Step::Answered(result) => self.answer(job.number, result),
            Step::Doubtful { doubt, .. } => self.doubt(doubt, job),
            Step::Underway { ladder, left } => self.put_back(job, ladder, left),
        }
    }

    /// Does a call, and what helps against its failure, until it succeeds or nothing helps. `doubts`: the first failure
    /// that may be a bad ciphertext's is left to a canary.
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
            if let (Call::Unwrap { id, wrapped }, Problem::Token(error)) = (&job.call, &problem)
                && may_be_the_ciphertext(error)
                && (doubts || generation == *lock(&self.generation))
            {
                self.leave(seat);
                return Step::Doubtful {
                    doubt: Doubt {
                        id: id.clone(),
                        mechanism: wrapped.mechanism,
                    },
                    refused: error.cure() == Cure::Nothing,
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
            // A token that only answers is none that works.
            _ => {}
        }
    }

    /// Makes a pause for a token with too much to do, or applies the next rung of the ladder. An error is the answer:
    /// nothing helps any more.
    pub(super) fn recover(
        &self,
        seat: usize,
        job: &Job,
        problem: Problem,
        ladder: &mut Ladder,
        generation: u64,
    ) -> Result<(), Failure> {
        self.leave(seat);
        let error = match problem {
            Problem::Final(failure) => return Err(failure),
            Problem::Token(error) => error,
        };
        if !job.call.can_be_repeated() && !matches!(error.cure(), Cure::Session | Cure::Login) {
            // Whether it was done is not known.
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
        // In an outage each attempt comes here; the daemon tells of its begin and its end.
        let told = format!("{error}; {}", describe(rung));
        self.outlet.say(Level::Debug, told);
        let climbed = match rung {
            Rung::Session => {
                self.forget_key(&job.call);
                Ok(())
            }
            Rung::Worker => Ok(()),
            Rung::Login => self.log_in_again(job.number, generation),
            Rung::Module => {
                self.reconnect(generation);
                Ok(())
            }
        };
        match climbed {
            Err(Problem::Final(failure)) => Err(failure),
            // If it failed, the next attempt fails for the same reason, and climbs on.
            Ok(()) | Err(Problem::Token(_)) => Ok(()),
        }
    }

    /// The handles of a key change with its sessions; it is looked for again.
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

    /// No rung is left but the last. What is not found may be proven missing; then a list without it is right.
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

    /// Something was found.
    pub(super) fn saw(&self, what: Option<KeyId>) {
        lock(&self.sightings).saw(what);
    }

    pub(super) fn is_proven_missing(&self, what: Option<&KeyId>) -> bool {
        lock(&self.sightings).is_gone(what)
    }

    pub(super) fn answer(&self, number: u64, result: Result<Outcome, Failure>) {
        let ends = result.as_ref().is_err_and(|failure| failure.ends_worker);
        self.outlet.answer(&Answer {
            number,
            memory: super::memory(),
            result,
        });
        if ends {
            super::end();
        }
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether an unwrap may have failed for what it was given. A value in etcd can name any mechanism and hold any bytes:
/// that a token refuses those says nothing about the token.
pub(super) fn may_be_the_ciphertext(error: &TokenError) -> bool {
    match error {
        TokenError::Call { value, .. } => value.may_mean_bad_ciphertext(),
        TokenError::Lie(_) | TokenError::Refused(_) => true,
        TokenError::Load { .. }
        | TokenError::Module(_)
        | TokenError::NoToken { .. }
        | TokenError::NotFound(_)
        | TokenError::Incomplete(_)
        | TokenError::Unproven(_) => false,
    }
}

/// The last word on a failure.
fn explain(call: &Call, error: TokenError, ends_worker: bool) -> Failure {
    let kind = match &error {
        TokenError::Lie(_) => Kind::Corruption,
        TokenError::Refused(_) => Kind::Refusal,
        _ if error.cure() == Cure::Nothing && error.value().is_some() => Kind::Refusal,
        _ => Kind::Outage,
    };
    Failure {
        // A library that was missing may be installed by now; the dynamic linker of this process has made up its mind.
        ends_worker: ends_worker || matches!(error, TokenError::Load { .. }),
        pin_rejected: error.cure() == Cure::Pin,
        error: Error::new(kind, call.doing()).because(error),
    }
}

fn describe(rung: Rung) -> &'static str {
    match rung {
        Rung::Session => "takes a new session",
        Rung::Login => "logs in again",
        Rung::Module => "initialises the module anew",
        Rung::Worker => "ends",
    }
}

#[cfg(test)]
mod tests;
