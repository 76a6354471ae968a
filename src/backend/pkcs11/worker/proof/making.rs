//! Makes the proof record: the first wrap waits for its part, and a thread of its own makes the rest, for which no call
//! waits.

use std::collections::HashSet;

use crate::backend::pkcs11::worker::channel::Level;
use crate::backend::pkcs11::worker::proof::pending::Entry;
use crate::backend::pkcs11::worker::proof::pending::Source;
use crate::backend::pkcs11::worker::proof::pending::Wanted;
use crate::backend::pkcs11::worker::proof::unwritable;
use crate::backend::pkcs11::worker::service::Service;
use crate::backend::pkcs11::worker::service::lock;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::token::error::TokenError;
use crate::token::key_object::KeyObject;
use crate::token::problem::CallError;
use crate::token::proof_record::Proof;
use crate::token::proof_record::ProofRecord;
use crate::token::proof_record::ProofRecordError;
use crate::token::session::Connection;
use crate::token::session::OpenToken;
use crate::token::wrap;
use crate::token::wrap::WrapMethod;
use crate::token::wrap::select;

impl Service {
    /// Records a version by a wrap of a random key, after its first wrap. If that fails, the first wrap is not used.
    pub(in crate::backend::pkcs11::worker) fn record_first_wrap(
        &self,
        job: u64,
        connection: &Connection,
        token: &OpenToken,
        id: &KeyId,
        key: &KeyObject,
    ) -> Result<(), CallError> {
        let (Some(record), Some(method)) = (self.recorder(), self.method(id)) else {
            return Ok(());
        };
        self.goes_on(job);
        let proof = make(connection, token, id, key, method)?;
        let is_first = self.at_the_disk(job, || self.add(record, id, &proof, Entry::First));
        if !is_first.map_err(unwritable)? {
            // Another worker of this node has recorded the version meanwhile, and may have found another key.
            let session = token.session(connection.module())?;
            if self.check(job, connection, token, &session, (id, key))? {
                return Err(CallError::outage(format!(
                    "the proof record of version {id} was changed while it was made"
                )));
            }
            return Ok(());
        }
        token.finder().note_proven(id, key);
        self.want_other_mechanisms(id, key);
        Ok(())
    }

    /// Whether a usable version has no record yet. A wrapped key that it has opened will identify it.
    pub(in crate::backend::pkcs11::worker) fn lacks_a_record(&self, id: &KeyId) -> bool {
        self.recorder().is_some() && lock(&self.recorded).get(id).is_some_and(HashSet::is_empty)
    }

    /// Whether a recorded version lacks proofs by some mechanisms: a token may stop permitting one.
    pub(in crate::backend::pkcs11::worker) fn lacks_proofs(&self, id: &KeyId, mechanism: Mechanism) -> bool {
        let recorded = lock(&self.recorded);
        let lacks = |of: &HashSet<Mechanism>| !of.is_empty() && (of.len() == 1 || !of.contains(&mechanism));
        self.recorder().is_some() && recorded.get(id).is_some_and(lacks)
    }

    /// Orders proofs by every mechanism that the token supports with this key. A proof that fails is only missing
    /// later.
    pub(in crate::backend::pkcs11::worker) fn want_other_mechanisms(&self, id: &KeyId, key: &KeyObject) {
        if self.recorder().is_none() {
            return;
        }
        let known = lock(&self.recorded)
            .insert(id.clone(), Mechanism::ALL.into())
            .unwrap_or_default();
        let wanted = Mechanism::ALL
            .into_iter()
            .filter(|mechanism| select::is_of_kind(*mechanism, key.kind) && !known.contains(mechanism));
        for mechanism in wanted {
            self.want(id, key, Source::Token(mechanism), Entry::Beside);
        }
    }

    /// Orders the record of a version that has unwrapped before it has wrapped. With integrity protection the opened
    /// wrap itself is the proof. By the other mechanisms any bytes open, so a wrap is made, if the key can wrap.
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
        self.want(id, key, source, Entry::First);
    }

    /// Makes the proofs for which no call waits, until the daemon is gone.
    pub(in crate::backend::pkcs11::worker) fn make_proofs(&self) {
        while let (Some(wanted), Some(record)) = (self.pending.next(), self.recorder()) {
            let id = wanted.id.clone();
            if let Err(error) = self.make_proof(record, wanted) {
                let told = format!("a proof of version {id} was not recorded: {error}");
                self.outlet.say(Level::Warn, told);
            }
        }
    }

    fn want(&self, id: &KeyId, key: &KeyObject, source: Source, entry: Entry) {
        let (id, key) = (id.clone(), *key);
        self.pending.push(Wanted { id, key, source, entry });
    }

    fn make_proof(&self, record: &ProofRecord, wanted: Wanted) -> Result<(), ProofRecordError> {
        let Wanted { id, key, source, entry } = wanted;
        let proof = match source {
            Source::Opened(proof) => proof,
            Source::Token(mechanism) => match self.try_proof(record, &id, &key, mechanism)? {
                Some(proof) => proof,
                None => return Ok(()),
            },
        };
        if !self.add(record, &id, &proof, entry)? {
            // The key must be checked by the current record.
            self.with_token(|token| token.finder().forget_key(&id));
        }
        Ok(())
    }

    /// `None`: the token does not support this mechanism with the key, or its result is useless.
    fn try_proof(
        &self,
        record: &ProofRecord,
        id: &KeyId,
        key: &KeyObject,
        mechanism: Mechanism,
    ) -> Result<Option<Proof>, ProofRecordError> {
        let name = &self.assignment.root_key;
        let begin = || record.begin_proof(name, id, mechanism, self.clock.now());
        if let Some(since) = self.in_begun_records(record, begin)? {
            let told = format!(
                "the token has not ended a wrap by {mechanism} under version {id} that began at {since}: dekhand tries \
                 it again a day later"
            );
            self.outlet.say(Level::Warn, told);
            return Ok(None);
        }
        let proof = self.with_open_token(|connection, token| {
            // A new search may have found another object, possibly under the same handle.
            if !token.finder().is_proven(id, key) {
                return None;
            }
            let chosen = self.method(id).filter(|method| method.mechanism() == mechanism);
            let method = chosen.or_else(|| {
                let mut sessions = || token.session(connection.module());
                let tried = select::one(connection.module(), &mut sessions, key, id, mechanism);
                tried.ok().flatten()
            });
            let made = method.and_then(|method| make(connection, token, id, key, method).ok());
            // A token that makes one call at a time has delayed other calls.
            self.everybody_goes_on();
            Some(made)
        });
        match proof {
            Some(Some(proof)) => return Ok(Some(proof)),
            Some(None) => {}
            // It is ordered again when the objects are used again.
            None => drop(
                lock(&self.recorded)
                    .get_mut(id)
                    .map(|recorded| recorded.remove(&mechanism)),
            ),
        }
        record.end_proof(name, id, mechanism)?;
        Ok(None)
    }

    /// `false`: the current record contradicts it.
    fn add(&self, record: &ProofRecord, id: &KeyId, proof: &Proof, entry: Entry) -> Result<bool, ProofRecordError> {
        let name = &self.assignment.root_key;
        let mechanism = proof.mechanism();
        let added = self.in_begun_records(record, || match entry {
            Entry::First => record.add_first(name, id, proof.clone()),
            Entry::Beside => record.add_beside(name, id, proof.clone()),
        })?;
        if added {
            lock(&self.recorded).entry(id.clone()).or_default().insert(mechanism);
        }
        Ok(added)
    }

    /// Begins the records before the first list, if there is nothing to take over from an older release.
    fn in_begun_records<T>(
        &self,
        record: &ProofRecord,
        work: impl Fn() -> Result<T, ProofRecordError>,
    ) -> Result<T, ProofRecordError> {
        match work() {
            Err(ProofRecordError::NotBegun(_)) if !self.is_reported() => {
                record.begin(&self.assignment.root_key, Vec::new())?;
                work()
            }
            done => done,
        }
    }

    fn method(&self, id: &KeyId) -> Option<WrapMethod> {
        lock(&self.methods).get(id).map(|settled| settled.method)
    }
}

/// A wrap of a random key that has been unwrapped again.
pub(super) fn make(
    connection: &Connection,
    token: &OpenToken,
    id: &KeyId,
    key: &KeyObject,
    method: WrapMethod,
) -> Result<Proof, TokenError> {
    let module = connection.module();
    let session = token.session(module)?;
    let random = Key::random().map_err(|error| TokenError::Refused(error.to_string()))?;
    let wrapped = method.wrap(module, &session, key, id, &random)?;
    let opened = wrap::unwrap(module, &session, key, id, &wrapped)?;
    if opened.same_as(&random) {
        Ok(Proof::new(wrapped, &random))
    } else {
        Err(TokenError::Misbehaved(format!(
            "unwraps another key than it has wrapped under {id}"
        )))
    }
}
