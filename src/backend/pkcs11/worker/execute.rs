//! One attempt at a call, on one session.

use std::time::Duration;

use cryptoki::session::Session;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::worker::describe;
use crate::backend::pkcs11::worker::job::Job;
use crate::backend::pkcs11::worker::proof::Shown;
use crate::backend::pkcs11::worker::proof::Usable;
use crate::backend::pkcs11::worker::service::AnotherTrial;
use crate::backend::pkcs11::worker::service::Service;
use crate::backend::pkcs11::worker::service::Settled;
use crate::backend::pkcs11::worker::service::lock;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::secret::Key;
use crate::token::assignment::Role;
use crate::token::error::TokenError;
use crate::token::key_object::KeyObject;
use crate::token::keygen;
use crate::token::problem::CallError;
use crate::token::report::Verdict;
use crate::token::return_value::Remedy;
use crate::token::session::Connection;
use crate::token::session::OpenToken;
use crate::token::wrap;
use crate::token::wrap::select;

/// The first delay before a choice that a failing token may have forced is repeated; the delay doubles each time. Some
/// tokens report an unsupported mechanism with the return values of a failing device.
const UNTIL_ANOTHER_TRIAL: Duration = Duration::from_secs(3600);

/// The progress of an attempt.
pub(super) enum Progress {
    Done(Outcome),
    /// A discovery has used up its stretch; `left` keys are still to be read.
    Underway {
        left: usize,
    },
}

impl Service {
    /// Tries a call once.
    pub(super) fn attempt(&self, seat: usize, job: &Job) -> Result<Progress, CallError> {
        self.check_role(&job.call)?;
        let number = job.number;
        let outcome = match &job.call {
            // Reports on a module need no login, and must not try one.
            Call::Open if self.assignment.role == Role::Look => self.load().map(|()| Outcome::Done),
            Call::Open => self.open().map(|()| Outcome::Done),
            Call::Tokens => self.with_module(|connection| Ok(Outcome::Tokens(describe::tokens(connection.module())?))),
            Call::Describe => self.with_module(|connection| {
                let token = &self.assignment.options.token;
                Ok(Outcome::Token(describe::token(connection.module(), token)?))
            }),
            Call::Find { expected } => {
                return self.with_session(seat, number, |connection, token, session| {
                    self.find(job, connection, token, session, expected)
                });
            }
            call => self.with_session(seat, number, |connection, token, session| {
                self.with_keys(number, call, connection, token, session)
            }),
        };
        outcome.map(Progress::Done)
    }

    fn with_keys(
        &self,
        job: u64,
        call: &Call,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
    ) -> Result<Outcome, CallError> {
        let module = connection.module();
        let options = &self.assignment.options;
        let root_key = &self.assignment.root_key;
        let goes_on = self.signs(job, Duration::MAX);
        Ok(match call {
            Call::Wrap { id, data_key } => {
                Outcome::Wrapped(self.wrap(job, connection, token, session, (id, data_key))?)
            }
            Call::Unwrap { id, wrapped } => {
                let Usable { key, unrecorded } = self.usable_key(job, connection, token, session, id)?;
                let data_key = wrap::unwrap(module, session, &key, id, wrapped)?;
                self.saw(Some(id.clone()));
                if unrecorded {
                    self.record_first_unwrap(token, id, &key, (wrapped, &data_key));
                }
                self.canaries.keep(id, wrapped, &data_key);
                Outcome::DataKey(data_key)
            }
            Call::Probe { id } => Outcome::Mechanisms(self.probe(job, connection, token, session, id.as_ref())?),
            Call::Attributes { id } => {
                let key = token.finder().key(session, id, &goes_on)?;
                let mut of_key = keygen::report::attributes(session, &key, options.exportable)?;
                match self.show(job, connection, token, session, id, &key)? {
                    Shown::Proven | Shown::Unrecorded => {}
                    Shown::Another => of_key.is_another(),
                    Shown::NotDone => of_key.is_unproven(),
                }
                Outcome::Attributes(of_key)
            }
            Call::Generate { number, state } => {
                Outcome::Versions(vec![keygen::generate(session, options, root_key, *number, *state)?])
            }
            Call::Import { number, state, key } => {
                Outcome::Versions(vec![keygen::import(session, options, root_key, *number, *state, key)?])
            }
            Call::Relabel { id, state } => {
                let versions = self.find_at_once(job, connection, token, session)?;
                let version = versions.iter().find(|version| version.id == *id);
                let number = version.ok_or_else(|| TokenError::NotFound(id.clone()))?.number;
                let key = token.finder().key(session, id, &goes_on)?;
                keygen::relabel(session, options, &key, root_key, number, *state)?;
                Outcome::Done
            }
            Call::Destroy { id } => {
                let key = token.finder().key(session, id, &goes_on)?;
                keygen::destroy(session, &key)?;
                token.finder().forget_key(id);
                Outcome::Done
            }
            Call::Open | Call::Tokens | Call::Describe | Call::Find { .. } => Outcome::Done,
        })
    }

    /// Wraps under a version whose key is the one that this node has used before. The first wrap on this node is
    /// recorded.
    pub(super) fn wrap(
        &self,
        job: u64,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        (id, data_key): (&KeyId, &Key),
    ) -> Result<Wrapped, CallError> {
        let Usable { key, unrecorded } = self.usable_key(job, connection, token, session, id)?;
        self.saw(Some(id.clone()));
        let wrapped = self.wrap_as_tried(connection, token, session, (id, key), data_key)?;
        // A public key may have been exchanged under its handle since. Nothing that it has wrapped is used before it is shown
        // to be the key of before.
        let is_unrecorded = || -> Result<bool, CallError> {
            let is_public = token.finder().is_public(id);
            Ok(is_public && self.check(job, connection, token, session, (id, &key))?)
        };
        if unrecorded || self.lacks_a_record(id) || is_unrecorded()? {
            self.record_first_wrap(job, connection, token, id, &key)?;
        } else if self.lacks_proofs(id, &key, wrapped.mechanism) {
            self.want_other_mechanisms(id, &key);
        }
        Ok(wrapped)
    }

    /// Wraps by the method that the trial has chosen. The trial runs with the first wrap under a version, and again
    /// when the method fails: a token may change.
    fn wrap_as_tried(
        &self,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        (id, key): (&KeyId, KeyObject),
        data_key: &Key,
    ) -> Result<Wrapped, CallError> {
        let module = connection.module();
        let now = self.clock.boottime();
        let settled = lock(&self.methods).get(id).copied();
        let is_due = |again: AnotherTrial| again.at <= now;
        let known = settled.filter(|settled| !settled.again.is_some_and(is_due));
        if let Some(settled) = known {
            match settled.method.wrap(module, session, &key, id, data_key) {
                Err(error) if error.cure() == Remedy::Nothing => lock(&self.methods).remove(id),
                done => return Ok(done?),
            };
        }
        let mut sessions = || token.session(module);
        let tried = select::choose(module, &mut sessions, &key, id, self.assignment.options.mechanism);
        let before = settled.and_then(|settled| Some((settled.method, settled.again?.pause)));
        let pause = before.map_or(UNTIL_ANOTHER_TRIAL, |(_, pause)| pause.saturating_mul(2));
        let again = Some(AnotherTrial {
            at: now.saturating_add(pause),
            pause,
        });
        let chosen = match (tried, before) {
            (Ok(chosen), _) => chosen,
            // The trial was only to find a better method.
            (Err(_), Some((method, _))) => {
                lock(&self.methods).insert(id.clone(), Settled { method, again });
                let session = token.session(module)?;
                return Ok(method.wrap(module, &session, &key, id, data_key)?);
            }
            (Err(error), None) => return Err(error.into()),
        };
        for report in &chosen.reports {
            if let Verdict::Wrong(reason) = &report.verdict {
                let told = format!("{} is not used under {id}: {reason}", report.mechanism);
                self.outlet.say(Level::Warn, told);
            }
        }
        let method = chosen.method;
        let told = format!("data keys are wrapped under {id} by {}", method.choice());
        match &chosen.troubled {
            None => self.outlet.say(Level::Info, told),
            Some((better, error)) => {
                let told = format!(
                    "{told} for {} h: {better} failed with an error that may be temporary ({error})",
                    pause.as_secs() / 3600
                );
                self.outlet.say(Level::Warn, told);
            }
        }
        // A session in which a wrap has just failed may be unusable.
        let mut own = None;
        let session = match known {
            Some(_) => own.insert(token.session(module)?),
            None => session,
        };
        let wrapped = method.wrap(module, session, &key, id, data_key)?;
        let again = again.filter(|_| chosen.troubled.is_some());
        lock(&self.methods).insert(id.clone(), Settled { method, again });
        Ok(wrapped)
    }

    fn check_role(&self, call: &Call) -> Result<(), CallError> {
        let changes = matches!(
            call,
            Call::Generate { .. } | Call::Import { .. } | Call::Relabel { .. } | Call::Destroy { .. }
        );
        if changes && self.assignment.role != Role::Admin {
            return Err(Error::new(Kind::Refusal, "this token worker may not change the token").into());
        }
        Ok(())
    }
}
