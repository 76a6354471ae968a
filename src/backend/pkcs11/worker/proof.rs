//! Confirms by the proof record that the key under an id is the one that this node has used before, and makes the
//! record.
//!
//! A version's objects are confirmed after each search for them: in a new worker, and after a change of their handles.
//! While the handles stay valid, the check costs nothing.

mod examination;
mod making;
pub(super) mod pending;

use std::time::Duration;

use cryptoki::session::Session;

use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::worker::proof::examination::Examination;
use crate::backend::pkcs11::worker::queue::CANARY_GAP;
use crate::backend::pkcs11::worker::service::Service;
use crate::backend::pkcs11::worker::service::lock;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::token::assignment::Role;
use crate::token::error::TokenError;
use crate::token::key_object::KeyObject;
use crate::token::problem::CallError;
use crate::token::proof_record::Proof;
use crate::token::proof_record::ProofRecord;
use crate::token::proof_record::ProofRecordError;
use crate::token::session::Connection;
use crate::token::session::OpenToken;

/// The longest wait for the disk that is announced to the daemon.
const LONGEST_AT_THE_DISK: Duration = Duration::from_secs(30);

/// The result of a check by the proof record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// The objects are the same key as before.
    Proven,
    /// This node has not used the version yet.
    Unrecorded,
    /// They are another key: the token works with them, but does not open what the previous key has wrapped.
    Another,
    /// The token no longer supports any mechanism of the record, or not with this key.
    NotDone,
}

/// The objects of a version that may be used.
pub(super) struct Usable {
    pub(super) key: KeyObject,
    /// Whether they are still to be recorded.
    pub(super) unrecorded: bool,
}

impl Service {
    /// The objects of a version, unless they are another key than before.
    pub(super) fn usable_key(
        &self,
        job: u64,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        id: &KeyId,
    ) -> Result<Usable, CallError> {
        if self.is_known_as_another(token, id) {
            return Err(another(id));
        }
        let key = token.finder().key(session, id, &self.signs(job, Duration::MAX))?;
        let unrecorded =
            !token.finder().is_proven(id, &key) && self.check(job, connection, token, session, (id, &key))?;
        Ok(Usable { key, unrecorded })
    }

    /// Checks by the proof record whether a version's objects may be used. `true`: they are still to be recorded.
    pub(super) fn check(
        &self,
        job: u64,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        (id, key): (&KeyId, &KeyObject),
    ) -> Result<bool, CallError> {
        let shown = self
            .show(job, connection, token, session, id, key)
            .map_err(|problem| match problem {
                CallError::Token(error) => TokenError::Unproven(Box::new(error)).into(),
                CallError::Final(_) => problem,
            });
        match shown? {
            // A command uses the key without recording it: the daemon records its own first use.
            Shown::Unrecorded if self.recorder().is_some() => Ok(true),
            Shown::Proven | Shown::Unrecorded => {
                token.finder().note_proven(id, key);
                Ok(false)
            }
            Shown::Another => {
                lock(&self.other_keys).insert(id.clone(), self.clock.boottime());
                Err(another(id))
            }
            Shown::NotDone => {
                let message = format!(
                    "the token no longer supports any mechanism that could verify that the key under the id {id} is \
                     the one that this node has used: permit such a mechanism again; only if nobody can have exchanged \
                     the key: `dekhand keys accept-loss {id}`"
                );
                Err(Error::new(Kind::Refusal, message).into())
            }
        }
    }

    /// Checks a version's objects by the proof record.
    pub(super) fn show(
        &self,
        job: u64,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        id: &KeyId,
        key: &KeyObject,
    ) -> Result<Shown, CallError> {
        let proofs = self.proofs(job, id)?;
        if proofs.is_empty() {
            return Ok(Shown::Unrecorded);
        }
        Examination {
            service: self,
            job,
            connection,
            token,
            id,
            key,
        }
        .examine(session, &proofs)
    }

    /// Whether a version's objects were found to be another key a moment ago. After that they are searched again.
    fn is_known_as_another(&self, token: &OpenToken, id: &KeyId) -> bool {
        let mut known = lock(&self.other_keys);
        let now = self.clock.boottime();
        let is_recent = |since: &Duration| now.saturating_sub(*since) < CANARY_GAP;
        if known.get(id).is_some_and(is_recent) {
            return true;
        }
        if known.remove(id).is_some() {
            token.finder().forget_key(id);
        }
        false
    }

    fn proofs(&self, job: u64, id: &KeyId) -> Result<Vec<Proof>, CallError> {
        let Some(record) = &self.proof_record else {
            return Ok(Vec::new());
        };
        let name = &self.assignment.root_key;
        let line = self.at_the_disk(job, || record.read(name)).map_err(unreadable)?;
        let proofs = line.map(|line| line.proofs(id).to_vec()).unwrap_or_default();
        let mechanisms = proofs.iter().map(Proof::mechanism).collect();
        lock(&self.recorded).insert(id.clone(), mechanisms);
        Ok(proofs)
    }

    /// Works on a file of the state directory. The daemon must not take a slow disk for a hanging token: it would kill
    /// the worker each time.
    pub(super) fn at_the_disk<T>(&self, job: u64, work: impl FnOnce() -> T) -> T {
        self.outlet.extend_deadline(Paused::Call(job), LONGEST_AT_THE_DISK);
        let done = work();
        self.outlet.extend_deadline(Paused::Call(job), Duration::ZERO);
        done
    }

    /// Tells the daemon between two steps of a call that it continues. A step that hangs sends nothing, and is noticed.
    pub(super) fn goes_on(&self, job: u64) {
        self.outlet.extend_deadline(Paused::Call(job), Duration::ZERO);
    }

    /// The same for all calls; not during a login, whose announced pause it would end.
    fn all_go_on(&self) {
        self.outlet.extend_deadline(Paused::All, Duration::ZERO);
    }

    /// The proof record, if this process makes it.
    pub(super) fn recorder(&self) -> Option<&ProofRecord> {
        let record = self.proof_record.as_ref();
        record.filter(|_| self.assignment.role == Role::Daemon)
    }
}

fn another(id: &KeyId) -> CallError {
    let message = format!(
        "the token holds another key under the id {id} than the one that this node has used: somebody has exchanged \
         it; bring the right key back; only if it is lost for good: `dekhand keys accept-loss {id}`"
    );
    Error::new(Kind::Corruption, message).into()
}

pub(super) fn unreadable(error: ProofRecordError) -> CallError {
    let message = "the proof record cannot be read";
    Error::new(Kind::Outage, message).because(error).into()
}

fn unwritable(error: ProofRecordError) -> CallError {
    // A refusal, as for a primary that cannot be recorded: the token works, and versions with a record stay usable.
    let message = "the proof record cannot be written, so nothing is wrapped under this version";
    Error::new(Kind::Refusal, message).because(error).into()
}
