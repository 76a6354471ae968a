//! Confirms by the proof record that the key under an id is the one that this node has used before, and makes the
//! record.
//!
//! A version's objects are confirmed after each search for them: in a new worker, and after a change of their handles.
//! While the handles stay valid, the check costs nothing.

mod admission;
mod examination;
mod making;
mod orders;
mod pending;

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use cryptoki::session::Session;

use crate::backend::pkcs11::worker::activity::Activity;
use crate::backend::pkcs11::worker::canary::CANARY_GAP;
use crate::backend::pkcs11::worker::channel::Outlet;
use crate::backend::pkcs11::worker::mutex::lock;
use crate::backend::pkcs11::worker::proof::examination::Examination;
use crate::backend::pkcs11::worker::proof::pending::Pending;
use crate::backend::pkcs11::worker::sessions::Access;
use crate::backend::pkcs11::worker::sessions::Open;
use crate::backend::pkcs11::worker::sessions::Sessions;
use crate::backend::pkcs11::worker::wrap_methods::WrapMethods;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::token::assignment::Assignment;
use crate::token::assignment::Role;
use crate::token::error::TokenError;
use crate::token::key_object::KeyObject;
use crate::token::problem::CallError;
use crate::token::proof_record::Proof;
use crate::token::proof_record::ProofRecord;
use crate::token::proof_record::ProofRecordError;
use crate::token::wrap;

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

/// A proof in progress.
struct InProgress {
    id: KeyId,
    mechanism: Mechanism,
    /// The date of its note in the record.
    noted: Timestamp,
    /// [`Clock::boottime`].
    since: Duration,
}

/// The proof record, and what this process knows of it.
pub(super) struct Proofs {
    assignment: Arc<Assignment>,
    outlet: Arc<Outlet>,
    clock: Clock,
    sessions: Arc<Sessions>,
    methods: Arc<WrapMethods>,
    activity: Arc<Activity>,
    record: Option<ProofRecord>,
    /// The work of a thread of its own.
    pending: Pending,
    /// The proof that the thread of proofs is making.
    in_progress: Mutex<Option<InProgress>>,
    /// The mechanisms of each version's record, as far as this process has read it.
    recorded: Mutex<HashMap<KeyId, HashSet<Mechanism>>>,
    /// When this process has last begun a proof that no call needs ([`Clock::boottime`]).
    tried: Mutex<HashMap<(KeyId, Mechanism), Duration>>,
    /// Versions whose objects were found to be another key than before, and when.
    other_keys: Mutex<HashMap<KeyId, Duration>>,
    /// Messages that are logged only once.
    told: Mutex<HashSet<String>>,
}

/// The parts of the worker that proofs need.
pub(super) struct ProofParts {
    pub(super) assignment: Arc<Assignment>,
    pub(super) outlet: Arc<Outlet>,
    pub(super) clock: Clock,
    pub(super) sessions: Arc<Sessions>,
    pub(super) methods: Arc<WrapMethods>,
    pub(super) activity: Arc<Activity>,
}

impl Proofs {
    pub(super) fn new(parts: ProofParts) -> Self {
        let ProofParts {
            assignment,
            outlet,
            clock,
            sessions,
            methods,
            activity,
        } = parts;
        Self {
            record: assignment.state.as_deref().map(ProofRecord::of),
            assignment,
            outlet,
            clock,
            sessions,
            methods,
            activity,
            pending: Pending::default(),
            in_progress: Mutex::default(),
            recorded: Mutex::default(),
            tried: Mutex::default(),
            other_keys: Mutex::default(),
            told: Mutex::default(),
        }
    }

    /// The objects of a version, unless they are another key than before.
    pub(super) fn usable_key(&self, access: Access<'_>, id: &KeyId) -> Result<Usable, CallError> {
        if self.is_known_as_another(access.open, id) {
            return Err(another(id));
        }
        let heartbeat = self.outlet.heartbeat(access.job, Duration::MAX);
        let finder = access.open.finder();
        let key = finder.key(access.session, id, &heartbeat)?;
        let unrecorded = !finder.is_proven(id, &key) && self.check(access, id, &key)?;
        Ok(Usable { key, unrecorded })
    }

    /// Checks by the proof record whether a version's objects may be used. `true`: they are still to be recorded.
    pub(super) fn check(&self, access: Access<'_>, id: &KeyId, key: &KeyObject) -> Result<bool, CallError> {
        let shown = self.show(access, id, key).map_err(|problem| match problem {
            CallError::Token(error) => TokenError::Unproven(Box::new(error)).into(),
            CallError::Final(_) => problem,
        });
        match shown? {
            // A command uses the key without recording it: the daemon records its own first use.
            Shown::Unrecorded if self.recorder().is_some() => Ok(true),
            Shown::Proven | Shown::Unrecorded => {
                access.open.finder().note_proven(id, key);
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
    pub(super) fn show(&self, access: Access<'_>, id: &KeyId, key: &KeyObject) -> Result<Shown, CallError> {
        let proofs = self.read(access.job, id)?;
        if proofs.is_empty() {
            return Ok(Shown::Unrecorded);
        }
        Examination {
            outlet: &self.outlet,
            activity: &self.activity,
            access,
            id,
            key,
        }
        .examine(&proofs)
    }

    /// Whether a version's objects were found to be another key a moment ago. After that they are searched again.
    fn is_known_as_another(&self, open: Open<'_>, id: &KeyId) -> bool {
        let mut known = lock(&self.other_keys);
        let now = self.clock.boottime();
        let is_recent = |since: &Duration| now.saturating_sub(*since) < CANARY_GAP;
        if known.get(id).is_some_and(is_recent) {
            return true;
        }
        if known.remove(id).is_some() {
            open.finder().forget_key(id);
        }
        false
    }

    fn read(&self, job: u64, id: &KeyId) -> Result<Vec<Proof>, CallError> {
        let Some(record) = &self.record else {
            return Ok(Vec::new());
        };
        let name = &self.assignment.root_key;
        let line = self
            .outlet
            .while_using_disk(job, || record.read(name))
            .map_err(unreadable)?;
        let proofs = line.map(|line| line.proofs(id).to_vec()).unwrap_or_default();
        let mechanisms = proofs.iter().map(Proof::mechanism).collect();
        lock(&self.recorded).insert(id.clone(), mechanisms);
        Ok(proofs)
    }

    /// The proof record, if this process makes it.
    fn recorder(&self) -> Option<&ProofRecord> {
        let record = self.record.as_ref();
        record.filter(|_| self.assignment.role == Role::Daemon)
    }
}

/// Whether a proof opens with a key to the bytes from which it was made.
fn opens(open: Open<'_>, session: &Session, id: &KeyId, key: &KeyObject, proof: &Proof) -> Result<bool, TokenError> {
    let opened = wrap::unwrap(open.module(), session, key, id, proof.wrapped())?;
    Ok(proof.is_of(&opened))
}

fn another(id: &KeyId) -> CallError {
    let message = format!(
        "the token holds another key under the id {id} than the one that this node has used: somebody has exchanged \
         it; bring the right key back; only if it is lost for good: `dekhand keys accept-loss {id}`"
    );
    Error::new(Kind::Corruption, message).into()
}

fn unreadable(error: ProofRecordError) -> CallError {
    let message = "the proof record cannot be read";
    Error::new(Kind::Outage, message).because(error).into()
}

fn unwritable(error: ProofRecordError) -> CallError {
    // A refusal, as for a primary that cannot be recorded: the token works, and versions with a record stay usable.
    let message = "the proof record cannot be written, so nothing is wrapped under this version";
    Error::new(Kind::Refusal, message).because(error).into()
}
