//! Unwraps in doubt: they failed with an error that a bad ciphertext can cause, and a canary shows whether the token is
//! at fault.

use std::time::Duration;

use cryptoki::session::Session;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::worker::canary::Canary;
use crate::backend::pkcs11::worker::canary::Shown;
use crate::backend::pkcs11::worker::dispatch::Step;
use crate::backend::pkcs11::worker::job::Doubt;
use crate::backend::pkcs11::worker::job::Job;
use crate::backend::pkcs11::worker::queue::CANARY_GAP;
use crate::backend::pkcs11::worker::recovery::Ladder;
use crate::backend::pkcs11::worker::service::Service;
use crate::backend::pkcs11::worker::service::lock;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::token::problem::CallError;
use crate::token::problem::Failure;
use crate::token::session::Connection;
use crate::token::session::OpenToken;
use crate::token::wrap::select;

/// The longest pause of an unwrap in doubt that is announced to the daemon. The queue gives it up earlier.
const WAIT_AS_TOLD: Duration = Duration::from_secs(60);

/// The result of a canary.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    Shown(Shown),
    /// The token is overloaded; another canary must decide.
    Throttled,
}

impl Service {
    /// Lets an unwrap wait for a canary, and frees the session for others. Its time limit restarts when it is tried
    /// again.
    pub(super) fn doubt(&self, mut doubt: Doubt, job: Job) {
        if let Some(mechanism) = self.chosen(&doubt.id)
            && mechanism.is_asymmetric() != doubt.mechanism.is_asymmetric()
        {
            // The key cannot do that, so any canary is good.
            doubt.mechanism = mechanism;
        }
        if self.canaries.is_unprovable(&doubt.id, doubt.mechanism) {
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
    pub(super) fn settle(&self, seat: usize, doubt: &Doubt, mut doubtful: Vec<Job>) {
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
        self.outlet.extend_deadline(Paused::Call(canary.number), Duration::ZERO);
        match self.open_canary(seat, &canary, doubt) {
            Ok(Verdict::Shown(Shown::Unprovable)) => self.fail_all(doubtful, &not_done(doubt)),
            Ok(Verdict::Shown(shown @ (Shown::Opened | Shown::Elsewhere))) => {
                for job in &mut doubtful {
                    job.elsewhere = shown == Shown::Elsewhere;
                }
                self.outlet.extend_deadline(Paused::Call(canary.number), WAIT_AS_TOLD);
                self.queue.again(doubtful);
            }
            Ok(Verdict::Throttled) => {
                for job in doubtful {
                    self.doubt(doubt.clone(), job);
                }
            }
            Err(failure) => self.fail_all(doubtful, &failure),
        }
    }

    pub(super) fn open_canary(&self, seat: usize, canary: &Job, doubt: &Doubt) -> Result<Verdict, Failure> {
        let mut ladder = Ladder::default();
        loop {
            let generation = *lock(&self.generation);
            let proven = self.with_session(seat, canary.number, |connection, token, session| {
                self.prove(canary.number, connection, token, session, doubt)
            });
            match proven {
                Ok(shown) => return Ok(Verdict::Shown(shown)),
                Err(CallError::Token(error)) if self.is_throttled(&error) => {
                    self.leave(seat);
                    return Ok(Verdict::Throttled);
                }
                Err(problem) => self.recover(seat, canary, problem, &mut ladder, generation)?,
            }
        }
    }

    /// Repeats an unwrap whose canary has opened. One that fails again is bad, unless another one that failed alike has
    /// opened meanwhile: a throttled token refuses good ones too, and they wait for the next canary.
    pub(super) fn judge(&self, seat: usize, job: Job) {
        self.outlet.extend_deadline(Paused::Call(job.number), Duration::ZERO);
        let result = match self.climb(seat, &job, false) {
            Step::Answered(result) => result,
            Step::Underway { ladder, left } => return self.put_back(job, ladder, left),
            Step::Doubtful { doubt, refused } if refused && job.elsewhere => Err(not_done(&doubt)),
            Step::Doubtful { doubt, .. } => {
                let opened = *lock(&self.opened_again);
                if opened.is_some_and(|opened| self.clock.boottime().saturating_sub(opened) < 2 * CANARY_GAP) {
                    return self.doubt(doubt, job);
                }
                Err(Error::bad_wrap(&doubt.id).into())
            }
        };
        if result.is_ok() {
            *lock(&self.opened_again) = Some(self.clock.boottime());
        }
        self.answer(job.number, result);
    }

    /// Checks whether the token unwraps by the mechanism in doubt. If its canary fails as well, one of the mechanism in
    /// use distinguishes a failing token from an unsupported mechanism: a writer to etcd can name any mechanism.
    fn prove(
        &self,
        job: u64,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        Doubt { id, mechanism }: &Doubt,
    ) -> Result<Shown, CallError> {
        let key = token.finder().key(session, id, &self.signs(job, Duration::MAX))?;
        if token.finder().is_public(id) {
            // Good values do not open under a key that was exchanged, and are not to blame for it.
            let session = token.session(connection.module())?;
            self.check(job, connection, token, &session, (id, &key))?;
        }
        if !select::is_of_kind(*mechanism, key.kind) {
            let chosen = self.choose(job, connection, token, session, id)?;
            return self.prove_one(job, connection, token, session, id, chosen);
        }
        let error = match self.prove_one(job, connection, token, session, id, *mechanism) {
            Err(CallError::Token(error)) if error.may_be_the_ciphertext() && !self.is_throttled(&error) => error,
            shown => return shown,
        };
        // A session with a failed call may be unusable.
        let session = token.session(connection.module())?;
        match self.choose(job, connection, token, &session, id) {
            Ok(chosen) if chosen != *mechanism => match self.prove_one(job, connection, token, &session, id, chosen)? {
                Shown::Opened | Shown::Elsewhere => {
                    self.canaries.set_unprovable(id, *mechanism);
                    Ok(Shown::Unprovable)
                }
                Shown::Unprovable => Err(error.into()),
            },
            Err(CallError::Final(failure)) if failure.error.kind() == Kind::Corruption => {
                Err(CallError::Final(failure))
            }
            _ => Err(error.into()),
        }
    }

    fn prove_one(
        &self,
        job: u64,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        id: &KeyId,
        mechanism: Mechanism,
    ) -> Result<Shown, CallError> {
        let module = connection.module();
        let goes_on = self.signs(job, Duration::MAX);
        let make = || {
            let key = token.finder().key(session, id, &goes_on)?;
            let settled = lock(&self.methods).get(id).map(|settled| settled.method);
            let mut sessions = || token.session(module);
            let method = match settled.filter(|method| method.mechanism() == mechanism) {
                Some(method) => Some(method),
                None => select::one(module, &mut sessions, &key, id, mechanism)?,
            };
            let data_key = random_key()?;
            let wrapped = method.map(|method| method.wrap(module, session, &key, id, &data_key));
            Ok(wrapped.transpose()?.map(|wrapped| Canary::new(wrapped, &data_key)))
        };
        self.canaries
            .prove(connection, token, session, (id, mechanism), &make, &goes_on)
    }

    /// The mechanism that wraps data keys under a version, if it was chosen.
    fn chosen(&self, id: &KeyId) -> Option<Mechanism> {
        lock(&self.methods).get(id).map(|settled| settled.method.mechanism())
    }

    /// The same; it is chosen now if it was not.
    fn choose(
        &self,
        job: u64,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        id: &KeyId,
    ) -> Result<Mechanism, CallError> {
        if let Some(chosen) = self.chosen(id) {
            return Ok(chosen);
        }
        let wrapped = self.wrap(job, connection, token, session, (id, &random_key()?))?;
        Ok(wrapped.mechanism)
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
