//! Handles unwraps in doubt, which failed with an error that a bad ciphertext can cause: a canary shows whether the token
//! is at fault.

use std::time::Duration;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::worker::canary::Canary;
use crate::backend::pkcs11::worker::canary::CanaryVerdict;
use crate::backend::pkcs11::worker::dispatch::JobOutcome;
use crate::backend::pkcs11::worker::dispatch::OnBadCiphertext;
use crate::backend::pkcs11::worker::dispatch::WAIT_AS_TOLD;
use crate::backend::pkcs11::worker::job::Doubt;
use crate::backend::pkcs11::worker::job::Job;
use crate::backend::pkcs11::worker::recovery::Recovery;
use crate::backend::pkcs11::worker::service::Service;
use crate::backend::pkcs11::worker::sessions::Access;
use crate::backend::pkcs11::worker::suspects::SuspectVerdict;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::token::problem::CallError;
use crate::token::problem::Failure;
use crate::token::wrap::WrapMethod;
use crate::token::wrap::select;

/// The result of a canary.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum CanaryResult {
    Verdict(CanaryVerdict),
    /// The token is overloaded; another canary must decide.
    Throttled,
}

impl Service {
    /// Lets an unwrap wait for a canary, and frees the session for others. Its time limit restarts when it is tried
    /// again.
    pub(super) fn doubt(&self, mut doubt: Doubt, job: Job) {
        if let Some(mechanism) = self.methods.of(&doubt.id).map(WrapMethod::mechanism)
            && mechanism.is_asymmetric() != doubt.mechanism.is_asymmetric()
        {
            // The key cannot do that, so any canary is good.
            doubt.mechanism = mechanism;
        }
        if self.suspects.canaries().is_unprovable(&doubt.id, doubt.mechanism) {
            return self.answer(job.number, Err(not_done(&doubt)));
        }
        self.outlet.extend_deadline(Paused::Call(job.number), WAIT_AS_TOLD);
        if let Err(job) = self.queue.doubt(doubt, job) {
            self.answer(job.number, Err(cannot_tell()));
        }
    }

    /// Answers those that have been in doubt for too long.
    pub(super) fn give_up_doubts(&self, jobs: Vec<Job>) {
        self.fail_all(jobs, &cannot_tell());
    }

    fn fail_all(&self, jobs: Vec<Job>, failure: &Failure) {
        for job in jobs {
            self.answer(job.number, Err(failure.clone()));
        }
    }

    /// Unwraps a canary for those that failed. If it opens, the token works, and each is tried again.
    pub(super) fn settle(&self, session_index: usize, doubt: &Doubt, mut doubtful: Vec<Job>) {
        // On behalf of the first of them: the canary's failure is reported as its failure.
        let Some(Job {
            number,
            call: Call::Unwrap { id, wrapped },
            ..
        }) = doubtful.first()
        else {
            return;
        };
        let (id, wrapped) = (id.clone(), wrapped.clone());
        let canary = Job::new(*number, Call::Unwrap { id, wrapped });
        self.outlet.restart_timeout(canary.number);
        match self.open_canary(session_index, &canary, doubt) {
            Ok(CanaryResult::Verdict(CanaryVerdict::Unprovable)) => self.fail_all(doubtful, &not_done(doubt)),
            Ok(CanaryResult::Verdict(shown @ (CanaryVerdict::Opened | CanaryVerdict::Elsewhere))) => {
                for job in &mut doubtful {
                    job.elsewhere = shown == CanaryVerdict::Elsewhere;
                }
                self.outlet.extend_deadline(Paused::Call(canary.number), WAIT_AS_TOLD);
                self.queue.again(doubtful);
            }
            Ok(CanaryResult::Throttled) => {
                for job in doubtful {
                    self.doubt(doubt.clone(), job);
                }
            }
            Err(failure) => self.fail_all(doubtful, &failure),
        }
    }

    pub(super) fn open_canary(
        &self,
        session_index: usize,
        canary: &Job,
        doubt: &Doubt,
    ) -> Result<CanaryResult, Failure> {
        let mut recovery = Recovery::default();
        loop {
            let generation = self.sessions.generation();
            let proven = self.with_session(session_index, canary.number, |access| self.prove(access, doubt));
            match proven {
                Ok(shown) => return Ok(CanaryResult::Verdict(shown)),
                Err(CallError::Token(error)) if self.activity.is_throttled(&error) => {
                    self.sessions.leave(session_index);
                    return Ok(CanaryResult::Throttled);
                }
                Err(problem) => self.recover(session_index, canary, problem, &mut recovery, generation)?,
            }
        }
    }

    /// Repeats an unwrap whose canary has opened.
    pub(super) fn judge(&self, session_index: usize, job: Job) {
        self.outlet.restart_timeout(job.number);
        let result = match self.call_with_recovery(session_index, &job, OnBadCiphertext::Final) {
            JobOutcome::Answered(result) => result,
            JobOutcome::Underway { recovery, left } => return self.put_back(job, recovery, left),
            JobOutcome::Doubtful { doubt, refused } => match self.suspects.judge(refused, job.elsewhere) {
                SuspectVerdict::NotDone => Err(not_done(&doubt)),
                SuspectVerdict::AskAgain => return self.doubt(doubt, job),
                SuspectVerdict::Bad => Err(Error::bad_wrap(&doubt.id).into()),
            },
        };
        if result.is_ok() {
            self.suspects.note_opened_again();
        }
        self.answer(job.number, result);
    }

    /// Checks whether the token unwraps by the mechanism in doubt. If its canary fails as well, one of the mechanism in
    /// use distinguishes a failing token from an unsupported mechanism: a writer to etcd can name any mechanism.
    fn prove(&self, access: Access<'_>, Doubt { id, mechanism }: &Doubt) -> Result<CanaryVerdict, CallError> {
        let Access { job, open, session } = access;
        let key = open
            .finder()
            .key(session, id, &self.outlet.heartbeat(job, Duration::MAX))?;
        if open.finder().is_public(id) {
            // Good values do not open under a key that was exchanged, and are not to blame for it.
            self.proofs.check(access.on(&open.session()?), id, &key)?;
        }
        if !select::is_of_kind(*mechanism, key.kind) {
            let chosen = self.choose(access, id)?;
            return self.prove_one(access, id, chosen);
        }
        let error = match self.prove_one(access, id, *mechanism) {
            Err(CallError::Token(error)) if error.may_be_the_ciphertext() && !self.activity.is_throttled(&error) => {
                error
            }
            shown => return shown,
        };
        // A session with a failed call may be unusable.
        let session = open.session()?;
        let access = access.on(&session);
        match self.choose(access, id) {
            Ok(chosen) if chosen != *mechanism => match self.prove_one(access, id, chosen)? {
                CanaryVerdict::Opened | CanaryVerdict::Elsewhere => {
                    self.suspects.canaries().set_unprovable(id, *mechanism);
                    Ok(CanaryVerdict::Unprovable)
                }
                CanaryVerdict::Unprovable => Err(error.into()),
            },
            Err(CallError::Final(failure)) if failure.error.kind() == Kind::Corruption => {
                Err(CallError::Final(failure))
            }
            _ => Err(error.into()),
        }
    }

    fn prove_one(&self, access: Access<'_>, id: &KeyId, mechanism: Mechanism) -> Result<CanaryVerdict, CallError> {
        let Access { job, open, session } = access;
        let module = open.module();
        let heartbeat = self.outlet.heartbeat(job, Duration::MAX);
        let make = || {
            let key = open.finder().key(session, id, &heartbeat)?;
            let mut sessions = || open.session();
            let chosen = self.methods.of(id);
            let method = match chosen.filter(|method| method.mechanism() == mechanism) {
                Some(method) => Some(method),
                None => select::one(module, &mut sessions, &key, id, mechanism)?,
            };
            let data_key = random_key()?;
            let wrapped = method.map(|method| method.wrap(module, session, &key, id, &data_key));
            Ok(wrapped.transpose()?.map(|wrapped| Canary::new(wrapped, &data_key)))
        };
        let canaries = self.suspects.canaries();
        canaries.prove(access, (id, mechanism), &make, &heartbeat)
    }

    /// The mechanism that wraps data keys under a version; it is chosen now if it was not.
    fn choose(&self, access: Access<'_>, id: &KeyId) -> Result<Mechanism, CallError> {
        match self.methods.of(id) {
            Some(method) => Ok(method.mechanism()),
            None => Ok(self.wrap(access, id, &random_key()?)?.mechanism),
        }
    }
}

fn random_key() -> Result<Key, CallError> {
    Key::random().map_err(|error| {
        let message = "no canary can be made";
        Error::new(Kind::Outage, message).because(error).into()
    })
}

/// There are more bad ciphertexts than the token can check.
fn cannot_tell() -> Failure {
    let message = "more wrapped data keys fail to open than the token can check in time";
    Error::new(Kind::Busy, message).into()
}

/// No wrapped key of this mechanism opens under the version, and no canary could be made.
fn not_done(Doubt { id, mechanism }: &Doubt) -> Failure {
    let message = format!(
        "the token unwraps nothing by {mechanism} under version {id}: it does not support the mechanism, or no \
         longer, or not with this key"
    );
    Error::new(Kind::Refusal, message).into()
}
