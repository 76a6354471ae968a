//! Makes the proof record: what a first wrap needs at once, and the rest on a thread of its own, for which no call waits.

use std::collections::HashSet;

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
use crate::backend::pkcs11::worker::proof::pending::Source;
use crate::backend::pkcs11::worker::proof::pending::Wanted;
use crate::backend::pkcs11::worker::proof::unwritable;
use crate::backend::pkcs11::worker::serve::Service;
use crate::backend::pkcs11::worker::serve::lock;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;

impl Service {
    /// Records a version by a wrap of a random key, as it has just wrapped for the first time. What it wrapped is not used
    /// if that fails.
    pub(in crate::backend::pkcs11::worker) fn record_first_wrap(
        &self,
        job: u64,
        connection: &Connection,
        token: &OpenToken,
        id: &KeyId,
        key: &KeyObject,
    ) -> Result<(), Problem> {
        let (Some(record), Some(method)) = (self.recorder(), self.method(id)) else {
            return Ok(());
        };
        self.goes_on(job);
        let proof = make(connection, token, id, key, method)?;
        self.at_the_disk(job, || self.add(record, id, proof))
            .map_err(unwritable)?;
        token.finder().note_proven(id, key);
        self.want_other_mechanisms(id, key);
        Ok(())
    }

    /// Whether nothing is written down of a version yet, although it may be used: what it has opened shows what it is.
    pub(in crate::backend::pkcs11::worker) fn lacks_a_record(&self, id: &KeyId) -> bool {
        self.recorder().is_some() && lock(&self.recorded).get(id).is_some_and(HashSet::is_empty)
    }

    /// Whether a version that is recorded has proofs by too few mechanisms: a token may cease to permit one.
    pub(in crate::backend::pkcs11::worker) fn lacks_proofs(&self, id: &KeyId, mechanism: Mechanism) -> bool {
        let recorded = lock(&self.recorded);
        let lacks = |of: &HashSet<Mechanism>| !of.is_empty() && (of.len() == 1 || !of.contains(&mechanism));
        self.recorder().is_some() && recorded.get(id).is_some_and(lacks)
    }

    /// Has proofs made by every mechanism that the token does with this key. One that fails is missing later, and no more.
    pub(in crate::backend::pkcs11::worker) fn want_other_mechanisms(&self, id: &KeyId, key: &KeyObject) {
        if self.recorder().is_none() {
            return;
        }
        let known = lock(&self.recorded)
            .insert(id.clone(), Mechanism::ALL.into())
            .unwrap_or_default();
        let wanted = Mechanism::ALL
            .into_iter()
            .filter(|mechanism| trial::is_of_kind(*mechanism, key.kind) && !known.contains(mechanism));
        for mechanism in wanted {
            self.want(id, key, Source::Token(mechanism));
        }
    }

    /// Has a version recorded of which something has opened before anything was wrapped. By a mechanism with integrity that
    /// itself is the proof; the others open whatever they are given, so a wrap is made, if the key may wrap.
    pub(in crate::backend::pkcs11::worker) fn record_first_unwrap(
        &self,
        token: &OpenToken,
        id: &KeyId,
        key: &KeyObject,
        (wrapped, data_key): (&Wrapped, &Key),
    ) {
        if self.recorder().is_none() {
            return;
        }
        token.finder().note_proven(id, key);
        let source = if wrapped.mechanism.is_committed() {
            Source::Token(wrapped.mechanism)
        } else {
            Source::Opened(Proof::new(wrapped.clone(), data_key))
        };
        self.want(id, key, source);
    }

    /// Makes the proofs for which no call waits, until the daemon is gone.
    pub(in crate::backend::pkcs11::worker) fn make_proofs(&self) {
        while let Some(wanted) = self.pending.next() {
            self.make_proof(wanted);
        }
    }

    fn want(&self, id: &KeyId, key: &KeyObject, source: Source) {
        let (id, key) = (id.clone(), *key);
        self.pending.push(Wanted { id, key, source });
    }

    fn make_proof(&self, Wanted { id, key, source }: Wanted) {
        let proof = match source {
            Source::Opened(proof) => Some(proof),
            Source::Token(mechanism) => self.with_open_token(|connection, token| {
                // Handles of a connection before this one are other objects'.
                if !token.finder().is_proven(&id, &key) {
                    return None;
                }
                let chosen = self.method(&id).filter(|method| method.mechanism() == mechanism);
                let method = chosen.or_else(|| {
                    let mut sessions = || token.session(connection.module());
                    let tried = trial::one(connection.module(), &mut sessions, &key, &id, mechanism);
                    tried.ok().flatten()
                });
                let made = method.and_then(|method| make(connection, token, &id, &key, method).ok());
                // A token that does one thing at a time has kept calls waiting.
                self.everybody_goes_on();
                made
            }),
        };
        if let (Some(proof), Some(record)) = (proof, self.recorder())
            && let Err(error) = self.add(record, &id, proof)
        {
            let told = format!("a proof of version {id} is not written down: {error}");
            self.outlet.say(Level::Warn, told);
        }
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
pub(super) fn make(
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
