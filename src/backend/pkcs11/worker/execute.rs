//! One attempt at a call, on one session.

use std::time::Duration;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::worker::describe;
use crate::backend::pkcs11::worker::job::Job;
use crate::backend::pkcs11::worker::proof::Shown;
use crate::backend::pkcs11::worker::proof::Usable;
use crate::backend::pkcs11::worker::service::Service;
use crate::backend::pkcs11::worker::sessions::Access;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::secret::Key;
use crate::token::assignment::Role;
use crate::token::error::TokenError;
use crate::token::keygen;
use crate::token::problem::CallError;
use crate::token::wrap;

/// The progress of an attempt.
pub(super) enum Progress {
    Done(Outcome),
    /// A discovery has used up its time slice; `left` keys are still to be read.
    Underway {
        left: usize,
    },
}

impl Service {
    /// Tries a call once.
    pub(super) fn attempt(&self, session_index: usize, job: &Job) -> Result<Progress, CallError> {
        self.check_role(&job.call)?;
        let number = job.number;
        let outcome = match &job.call {
            // Reports on a module need no login, and must not try one.
            Call::Open if self.assignment.role == Role::Look => self.sessions.load().map(|()| Outcome::Done),
            Call::Open => self.sessions.open().map(|()| Outcome::Done),
            Call::Tokens => self
                .sessions
                .with_module(|module| Ok(Outcome::Tokens(describe::tokens(module)?))),
            Call::Describe => self.sessions.with_module(|module| {
                let token = &self.assignment.options.token;
                Ok(Outcome::Token(describe::token(module, token)?))
            }),
            Call::Find { expected } => {
                return self.with_session(session_index, number, |access| self.find(job, access, expected));
            }
            call => self.with_session(session_index, number, |access| self.with_keys(call, access)),
        };
        outcome.map(Progress::Done)
    }

    fn with_keys(&self, call: &Call, access: Access<'_>) -> Result<Outcome, CallError> {
        let Access { job, open, session } = access;
        let finder = open.finder();
        let options = &self.assignment.options;
        let root_key = &self.assignment.root_key;
        let heartbeat = self.outlet.heartbeat(job, Duration::MAX);
        Ok(match call {
            Call::Wrap { id, data_key } => Outcome::Wrapped(self.wrap(access, id, data_key)?),
            Call::Unwrap { id, wrapped } => {
                let Usable { key, unrecorded } = self.proofs.usable_key(access, id)?;
                let data_key = wrap::unwrap(open.module(), session, &key, id, wrapped)?;
                self.absence.saw(Some(id.clone()));
                if unrecorded {
                    self.proofs.record_first_unwrap(open, id, &key, (wrapped, &data_key));
                }
                self.suspects.canaries().keep(id, wrapped, &data_key);
                Outcome::DataKey(data_key)
            }
            Call::Probe { id } => Outcome::Mechanisms(describe::mechanisms(
                access,
                id.as_ref(),
                options.mechanism,
                &heartbeat,
            )?),
            Call::Attributes { id } => {
                let key = finder.key(session, id, &heartbeat)?;
                let mut of_key = keygen::report::attributes(session, &key, options.exportable)?;
                match self.proofs.show(access, id, &key)? {
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
                let versions = self.find_at_once(access)?;
                let version = versions.iter().find(|version| version.id == *id);
                let number = version.ok_or_else(|| TokenError::NotFound(id.clone()))?.number;
                let key = finder.key(session, id, &heartbeat)?;
                keygen::relabel(session, options, &key, root_key, number, *state)?;
                Outcome::Done
            }
            Call::Destroy { id } => {
                let key = finder.key(session, id, &heartbeat)?;
                keygen::destroy(session, &key)?;
                finder.forget_key(id);
                Outcome::Done
            }
            Call::Open | Call::Tokens | Call::Describe | Call::Find { .. } => Outcome::Done,
        })
    }

    /// Wraps under a version whose key is the one that this node has used before. The first wrap on this node is
    /// recorded.
    pub(super) fn wrap(&self, access: Access<'_>, id: &KeyId, data_key: &Key) -> Result<Wrapped, CallError> {
        let Usable { key, unrecorded } = self.proofs.usable_key(access, id)?;
        self.absence.saw(Some(id.clone()));
        let wrapped = self.methods.wrap(access, id, &key, data_key)?;
        // A public key may have been exchanged under its handle since. Nothing that it has wrapped is used before it is shown
        // to be the key of before.
        let is_unrecorded = || -> Result<bool, CallError> {
            let is_public = access.open.finder().is_public(id);
            Ok(is_public && self.proofs.check(access, id, &key)?)
        };
        if unrecorded || self.proofs.lacks_a_record(id) || is_unrecorded()? {
            self.proofs.record_first_wrap(access, id, &key)?;
        } else if self.proofs.lacks_proofs(id, &key, wrapped.mechanism) {
            self.proofs.want_other_mechanisms(id, &key);
        }
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
