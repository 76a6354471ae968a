//! Shows by the proof record that the key under an id is the one that this node has used before, and makes the record.
//!
//! A version's objects are shown to be the right ones whenever they were looked for anew: in a new worker, and where their
//! handles have changed. As long as they stay what they are that costs nothing.

use std::collections::HashSet;
use std::time::Duration;

use cryptoki::session::Session;

use crate::backend::pkcs11::assignment::Role;
use crate::backend::pkcs11::proof_record::Proof;
use crate::backend::pkcs11::proof_record::ProofRecord;
use crate::backend::pkcs11::proof_record::ProofRecordError;
use crate::backend::pkcs11::worker::channel::Level;
use crate::backend::pkcs11::worker::connection::Connection;
use crate::backend::pkcs11::worker::connection::OpenToken;
use crate::backend::pkcs11::worker::error::TokenError;
use crate::backend::pkcs11::worker::key_object::KeyObject;
use crate::backend::pkcs11::worker::mechanism;
use crate::backend::pkcs11::worker::mechanism::Method;
use crate::backend::pkcs11::worker::mechanism::trial;
use crate::backend::pkcs11::worker::problem::Problem;
use crate::backend::pkcs11::worker::queue::CANARY_GAP;
use crate::backend::pkcs11::worker::return_value::Cure;
use crate::backend::pkcs11::worker::serve::Service;
use crate::backend::pkcs11::worker::serve::lock;
use crate::backend::pkcs11::worker::serve::may_be_the_ciphertext;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;

/// What the proof record shows of a version's objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shown {
    /// They are the key of before.
    Proven,
    /// This node has not used the version yet.
    Unrecorded,
    /// They are another key: the token works with them, and does not open what the key of before has wrapped.
    Another,
    /// The token does none of the mechanisms any more by which the record was made, or not with this key.
    NotDone,
}

/// The objects of a version that may be used.
pub(super) struct Usable {
    pub(super) key: KeyObject,
    /// Whether a record of them is to be made.
    pub(super) unrecorded: bool,
}

impl Service {
    /// The objects of a version, unless they are another key than before.
    pub(super) fn usable_key(
        &self,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        id: &KeyId,
    ) -> Result<Usable, Problem> {
        if self.is_known_as_another(token, id) {
            return Err(another(id));
        }
        let key = token.finder().key(session, id)?;
        let usable = |unrecorded| Ok(Usable { key, unrecorded });
        if token.finder().is_proven(id, &key) {
            return usable(false);
        }
        let shown = self
            .show(connection, token, session, id, &key)
            .map_err(|problem| match problem {
                Problem::Token(error) => TokenError::Unproven(Box::new(error)).into(),
                Problem::Final(_) => problem,
            });
        match shown? {
            // A command uses what is there: the daemon is the one to say what it has used first.
            Shown::Unrecorded if self.recorder().is_some() => usable(true),
            Shown::Proven | Shown::Unrecorded => {
                token.finder().note_proven(id, &key);
                usable(false)
            }
            Shown::Another => {
                lock(&self.other_keys).insert(id.clone(), self.clock.boottime());
                Err(another(id))
            }
            Shown::NotDone => {
                let message = format!(
                    "the token does none of the mechanisms any more by which this node could tell that the key under \
                     the id {id} is the one that it has used: permit them again; only if nobody can have exchanged the \
                     key: `dekhand keys accept-loss {id}`"
                );
                Err(Error::new(Kind::Refusal, message).into())
            }
        }
    }

    /// What the proof record shows of a version's objects.
    pub(super) fn show(
        &self,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        id: &KeyId,
        key: &KeyObject,
    ) -> Result<Shown, Problem> {
        let proofs = self.proofs(id)?;
        if proofs.is_empty() {
            return Ok(Shown::Unrecorded);
        }
        Examination {
            service: self,
            connection,
            token,
            id,
            key,
        }
        .examine(session, &proofs)
    }

    /// Whether a version's objects were found to be another key a moment ago. After that they are looked for anew.
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

    fn proofs(&self, id: &KeyId) -> Result<Vec<Proof>, Problem> {
        let Some(record) = &self.proof_record else {
            return Ok(Vec::new());
        };
        let line = record.read(&self.assignment.root_key).map_err(unreadable)?;
        let proofs = line.map(|line| line.proofs(id).to_vec()).unwrap_or_default();
        let mechanisms = proofs.iter().map(Proof::mechanism).collect();
        lock(&self.recorded).insert(id.clone(), mechanisms);
        Ok(proofs)
    }

    /// The proof record, if it is this process that makes it.
    pub(super) fn recorder(&self) -> Option<&ProofRecord> {
        let record = self.proof_record.as_ref();
        record.filter(|_| self.assignment.role == Role::Daemon)
    }

    /// Records a version by wraps of a random key, as it has just wrapped for the first time. What it wrapped is not used
    /// if that fails.
    pub(super) fn record_first_wrap(
        &self,
        connection: &Connection,
        token: &OpenToken,
        id: &KeyId,
        key: &KeyObject,
    ) -> Result<(), Problem> {
        let (Some(record), Some(method)) = (self.recorder(), self.method(id)) else {
            return Ok(());
        };
        let proof = make(connection, token, id, key, method)?;
        self.add(record, id, proof).map_err(unwritable)?;
        self.record_other_mechanisms(connection, token, id, key);
        token.finder().note_proven(id, key);
        Ok(())
    }

    /// Whether a version that is recorded has proofs by too few mechanisms: a token may cease to permit one.
    pub(super) fn lacks_proofs(&self, id: &KeyId, mechanism: Mechanism) -> bool {
        let recorded = lock(&self.recorded);
        let lacks = |of: &HashSet<Mechanism>| !of.is_empty() && (of.len() == 1 || !of.contains(&mechanism));
        self.recorder().is_some() && recorded.get(id).is_some_and(lacks)
    }

    /// Adds proofs by every mechanism that the token does with this key. One that fails is missing later, and no more.
    pub(super) fn record_other_mechanisms(
        &self,
        connection: &Connection,
        token: &OpenToken,
        id: &KeyId,
        key: &KeyObject,
    ) {
        let Some(record) = self.recorder() else {
            return;
        };
        let known = lock(&self.recorded)
            .insert(id.clone(), Mechanism::ALL.into())
            .unwrap_or_default();
        let chosen = self.method(id);
        let wanted = Mechanism::ALL
            .into_iter()
            .filter(|mechanism| trial::is_of_kind(*mechanism, key.kind) && !known.contains(mechanism));
        for mechanism in wanted {
            let chosen = chosen.filter(|method| method.mechanism() == mechanism);
            let mut sessions = || token.session(connection.module());
            let method = chosen.or_else(|| {
                let tried = trial::one(connection.module(), &mut sessions, key, id, mechanism);
                tried.ok().flatten()
            });
            let made = method.and_then(|method| make(connection, token, id, key, method).ok());
            if let Some(proof) = made
                && let Err(error) = self.add(record, id, proof)
            {
                let told = format!("a proof of version {id} is not written down: {error}");
                return self.outlet.say(Level::Warn, told);
            }
        }
    }

    /// Records a version of which something has opened before anything was wrapped. By a mechanism with integrity that
    /// itself is the proof; the others open whatever they are given, so a wrap is made, if the key may wrap.
    pub(super) fn record_first_unwrap(
        &self,
        connection: &Connection,
        token: &OpenToken,
        id: &KeyId,
        key: &KeyObject,
        (wrapped, data_key): (&Wrapped, &Key),
    ) {
        let Some(record) = self.recorder() else {
            return;
        };
        let proof = if wrapped.mechanism.is_committed() {
            let mut sessions = || token.session(connection.module());
            let tried = trial::one(connection.module(), &mut sessions, key, id, wrapped.mechanism);
            let method = tried.ok().flatten();
            method.and_then(|method| make(connection, token, id, key, method).ok())
        } else {
            Some(Proof::new(wrapped.clone(), data_key))
        };
        if let Some(proof) = proof
            && let Err(error) = self.add(record, id, proof)
        {
            let told = format!("the proof of version {id} is not written down: {error}");
            self.outlet.say(Level::Warn, told);
        }
        token.finder().note_proven(id, key);
    }

    fn add(&self, record: &ProofRecord, id: &KeyId, proof: Proof) -> Result<(), ProofRecordError> {
        let name = &self.assignment.root_key;
        let mechanism = proof.mechanism();
        match record.add(name, id, proof.clone()) {
            // Before the first list, and there is nothing that the records of an older release would begin with.
            Err(ProofRecordError::NotBegun(_)) if !self.is_reported() => {
                record.begin(name, Vec::new())?;
                record.add(name, id, proof)?;
            }
            added => added?,
        }
        lock(&self.recorded).entry(id.clone()).or_default().insert(mechanism);
        Ok(())
    }

    fn method(&self, id: &KeyId) -> Option<Method> {
        lock(&self.methods).get(id).map(|settled| settled.method)
    }
}

/// A wrap of a random key that has opened.
fn make(
    connection: &Connection,
    token: &OpenToken,
    id: &KeyId,
    key: &KeyObject,
    method: Method,
) -> Result<Proof, TokenError> {
    let module = connection.module();
    let session = token.session(module)?;
    let random = Key::random().map_err(|error| TokenError::Refused(error.to_string()))?;
    let wrapped = method.wrap(module, &session, key, id, &random)?;
    let opened = mechanism::unwrap(module, &session, key, id, &wrapped)?;
    if opened.same_as(&random) {
        Ok(Proof::new(wrapped, &random))
    } else {
        Err(TokenError::Lie(format!(
            "unwraps another key than it has wrapped under {id}"
        )))
    }
}

/// One look at a version's objects.
struct Examination<'a> {
    service: &'a Service,
    connection: &'a Connection,
    token: &'a OpenToken,
    id: &'a KeyId,
    key: &'a KeyObject,
}

/// How a proof opened that did not show the key of before.
enum Doubt {
    /// As another key.
    Differs,
    /// Not at all; a token in trouble may be the reason.
    Fails(TokenError),
}

impl Examination<'_> {
    fn examine(&self, session: &Session, proofs: &[Proof]) -> Result<Shown, Problem> {
        let of_kind = |proof: &&Proof| trial::is_of_kind(proof.mechanism(), self.key.kind);
        let proofs: Vec<&Proof> = proofs.iter().filter(of_kind).collect();
        if proofs.is_empty() {
            // An RSA key where an AES key was, or the other way round.
            return Ok(Shown::Another);
        }
        let mut doubts = Vec::new();
        for proof in &proofs {
            // One in which something has just failed may be unusable.
            let fresh = if doubts.is_empty() {
                None
            } else {
                Some(self.token.session(self.connection.module())?)
            };
            match self.open(fresh.as_ref().unwrap_or(session), proof)? {
                None => return Ok(Shown::Proven),
                Some(doubt) => doubts.push(doubt),
            }
        }
        self.settle(&proofs, doubts)
    }

    /// `None`: it shows the key of before.
    fn open(&self, session: &Session, proof: &Proof) -> Result<Option<Doubt>, Problem> {
        let opened = mechanism::unwrap(self.connection.module(), session, self.key, self.id, proof.wrapped());
        match opened {
            Ok(opened) if proof.is_of(&opened) => Ok(None),
            Ok(_) => Ok(Some(Doubt::Differs)),
            Err(error) if may_be_the_ciphertext(&error) && !self.service.is_throttled(&error) => {
                Ok(Some(Doubt::Fails(error)))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// No proof has opened. If the token wraps and unwraps with these objects, before and after another try, they are
    /// another key; if it does not, it is in trouble.
    fn settle(&self, proofs: &[&Proof], doubts: Vec<Doubt>) -> Result<Shown, Problem> {
        let module = self.connection.module();
        let mut trouble = None;
        for proof in proofs {
            let mut sessions = || self.token.session(module);
            match trial::one(module, &mut sessions, self.key, self.id, proof.mechanism()) {
                Ok(Some(method)) => {
                    let session = self.token.session(module)?;
                    if self.open(&session, proof)?.is_none() {
                        return Ok(Shown::Proven);
                    }
                    make(self.connection, self.token, self.id, self.key, method)?;
                    return Ok(Shown::Another);
                }
                Ok(None) => {}
                Err(error) => drop(trouble.get_or_insert(error)),
            }
        }
        if let Some(trouble) = trouble {
            return Err(trouble.into());
        }
        let mut not_done = true;
        for doubt in doubts {
            match doubt {
                Doubt::Differs => return Ok(Shown::Another),
                Doubt::Fails(error) => not_done &= error.cure() == Cure::Nothing,
            }
        }
        if not_done {
            return Ok(Shown::NotDone);
        }
        // The key only unwraps, so nothing tells another key from a device in trouble; other calls look after the device.
        Err(Problem::outage(format!(
            "the token does not open the proof record of version {}, and wraps nothing under it that would show why",
            self.id
        )))
    }
}

fn another(id: &KeyId) -> Problem {
    let message = format!(
        "the token holds another key under the id {id} than the one that this node has used: somebody has exchanged it; \
         bring the right one back; only if that is lost for good: `dekhand keys accept-loss {id}`"
    );
    Error::new(Kind::Corruption, message).into()
}

pub(super) fn unreadable(error: ProofRecordError) -> Problem {
    let message = "it cannot be read which key each version is";
    Error::new(Kind::Outage, message).because(error).into()
}

fn unwritable(error: ProofRecordError) -> Problem {
    let message = "it cannot be written down which key this version is, so nothing is wrapped under it";
    Error::new(Kind::Outage, message).because(error).into()
}
