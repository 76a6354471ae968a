//! Makes the proof record: the first wrap waits for its part, and a thread of its own makes the rest, for which no call
//! waits.

use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::worker::mutex::lock;
use crate::backend::pkcs11::worker::proof::InProgress;
use crate::backend::pkcs11::worker::proof::Proofs;
use crate::backend::pkcs11::worker::proof::opens;
use crate::backend::pkcs11::worker::proof::orders::of_kind;
use crate::backend::pkcs11::worker::proof::pending::Entry;
use crate::backend::pkcs11::worker::proof::pending::Source;
use crate::backend::pkcs11::worker::proof::pending::Wanted;
use crate::backend::pkcs11::worker::proof::unwritable;
use crate::backend::pkcs11::worker::sessions::Access;
use crate::backend::pkcs11::worker::sessions::Open;
use crate::clock::Timestamp;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::token::error::TokenError;
use crate::token::key_object::KeyObject;
use crate::token::problem::CallError;
use crate::token::proof_record::Proof;
use crate::token::proof_record::ProofRecord;
use crate::token::proof_record::ProofRecordError;
use crate::token::wrap;
use crate::token::wrap::WrapMethod;
use crate::token::wrap::select;

impl Proofs {
    /// Records a version by a wrap of a random key, after its first wrap. If that fails, the first wrap is not used.
    pub(in crate::backend::pkcs11::worker) fn record_first_wrap(
        &self,
        access: Access<'_>,
        id: &KeyId,
        key: &KeyObject,
    ) -> Result<(), CallError> {
        let (Some(record), Some(method)) = (self.recorder(), self.methods.of(id)) else {
            return Ok(());
        };
        let Access { job, open, .. } = access;
        self.outlet.restart_timeout(job);
        let proof = make(open, id, key, method)?;
        let is_first = self
            .outlet
            .while_using_disk(job, || self.is_added(record, id, &proof, None));
        if !is_first.map_err(unwritable)? {
            // Another worker of this node has recorded the version meanwhile, and may have found another key.
            if self.check(access.on(&open.session()?), id, key)? {
                return Err(CallError::outage(format!(
                    "the proof record of version {id} was changed while it was made"
                )));
            }
            return Ok(());
        }
        open.finder().note_proven(id, key);
        self.want_other_mechanisms(id, key);
        Ok(())
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

    fn make_proof(&self, record: &ProofRecord, wanted: Wanted) -> Result<(), ProofRecordError> {
        let Wanted { id, key, source, entry } = wanted;
        match (source, entry) {
            (Source::Opened(proof), _) => self.add(record, &id, &proof, None),
            (Source::Token(mechanism), Entry::Beside) => self.try_proof(record, &id, &key, mechanism, entry).map(drop),
            (Source::Token(mechanism), Entry::First) => {
                let others = of_kind(&key).filter(|other| *other != mechanism);
                for mechanism in std::iter::once(mechanism).chain(others) {
                    if self.try_proof(record, &id, &key, mechanism, entry)? {
                        return Ok(());
                    }
                }
                let told = format!(
                    "version {id} has no proof record, since the token wraps nothing under it: another key under its id \
                     would not be noticed"
                );
                self.outlet.say(Level::Info, told);
                Ok(())
            }
        }
    }

    /// `false`: the token does not support this mechanism with the key, or its result is useless. `true`: the proof is
    /// recorded, or the daemon is gone, so that none is made any more.
    fn try_proof(
        &self,
        record: &ProofRecord,
        id: &KeyId,
        key: &KeyObject,
        mechanism: Mechanism,
        entry: Entry,
    ) -> Result<bool, ProofRecordError> {
        let noted = self.clock.now();
        // Before its note is written, and until it is removed: `withdraw` may come at any time.
        *lock(&self.in_progress) = Some(InProgress {
            id: id.clone(),
            mechanism,
            noted,
            since: self.clock.boottime(),
        });
        let done = self.try_noted_proof(record, id, key, mechanism, entry, noted);
        *lock(&self.in_progress) = None;
        done
    }

    fn try_noted_proof(
        &self,
        record: &ProofRecord,
        id: &KeyId,
        key: &KeyObject,
        mechanism: Mechanism,
        entry: Entry,
        noted: Timestamp,
    ) -> Result<bool, ProofRecordError> {
        let name = &self.assignment.root_key;
        let known = match entry {
            Entry::First => Vec::new(),
            Entry::Beside => record
                .read(name)?
                .map(|line| line.proofs(id).to_vec())
                .unwrap_or_default(),
        };
        let begin = || record.begin_proof(name, id, mechanism, noted);
        if let Some(since) = self.in_begun_records(record, begin)? {
            let told = format!(
                "the token has not ended a wrap by {mechanism} under version {id} that began at {since}, unless the worker \
                 was killed meanwhile: dekhand tries it again a day later"
            );
            self.outlet.say(Level::Warn, told);
            return Ok(false);
        }
        if self.pending.is_closed() {
            record.withdraw_proof(name, id, mechanism, noted)?;
            return Ok(true);
        }
        let made = self.sessions.with_token(|open| {
            // A new search may have found another object, possibly under the same handle.
            if !open.finder().is_proven(id, key) {
                return None;
            }
            let chosen = self.methods.of(id).filter(|method| method.mechanism() == mechanism);
            let method = chosen.or_else(|| {
                let mut sessions = || open.session();
                let tried = select::one(open.module(), &mut sessions, key, id, mechanism);
                tried.ok().flatten()
            });
            let made = method.and_then(|method| make(open, id, key, method).ok());
            let made = made.and_then(|made| match entry {
                Entry::First => open.finder().is_proven(id, key).then_some((made, None)),
                // By the key that has made it: it may have been exchanged meanwhile, under the same handle.
                Entry::Beside => Some((made, Some(first_that_opens(open, id, key, &known)?))),
            });
            // A token that makes one call at a time has delayed other calls.
            self.outlet.restart_all_timeouts();
            Some(made)
        });
        match made.flatten() {
            Some(Some((proof, shown_by))) => {
                self.add(record, id, &proof, shown_by)?;
                return Ok(true);
            }
            Some(None) => {}
            // It is ordered again when the objects are used again.
            None => drop(lock(&self.tried).remove(&(id.clone(), mechanism))),
        }
        record.end_proof(name, id, mechanism)?;
        Ok(false)
    }

    /// Adds the first proof of a version, or one of a key that has opened a recorded proof.
    fn add(
        &self,
        record: &ProofRecord,
        id: &KeyId,
        proof: &Proof,
        shown_by: Option<&Proof>,
    ) -> Result<(), ProofRecordError> {
        if !self.is_added(record, id, proof, shown_by)? {
            // The key must be checked by the current record.
            self.sessions.with_token(|open| open.finder().forget_key(id));
            record.end_proof(&self.assignment.root_key, id, proof.mechanism())?;
        }
        Ok(())
    }

    fn is_added(
        &self,
        record: &ProofRecord,
        id: &KeyId,
        proof: &Proof,
        shown_by: Option<&Proof>,
    ) -> Result<bool, ProofRecordError> {
        let name = &self.assignment.root_key;
        let added = self.in_begun_records(record, || match shown_by {
            None => record.add_first(name, id, proof.clone()),
            Some(shown_by) => record.add_beside(name, id, proof.clone(), shown_by),
        })?;
        if added {
            let mechanism = proof.mechanism();
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

    /// No more proofs are made: the daemon is gone.
    pub(in crate::backend::pkcs11::worker) fn close(&self) {
        self.pending.close();
    }

    /// Withdraws the note of a proof in progress, after [`close`](Self::close). The end of the daemon interrupts the
    /// proof; the token need not be hanging, so the next worker may repeat it.
    pub(in crate::backend::pkcs11::worker) fn withdraw(&self) {
        let (Some(proof), Some(record)) = (lock(&self.in_progress).take(), self.recorder()) else {
            return;
        };
        let InProgress {
            id,
            mechanism,
            noted,
            since,
        } = proof;
        let lasts = self.clock.boottime().saturating_sub(since);
        if lasts < self.assignment.options.call_timeout {
            // The daemon is gone, so a failure is not reported. The proof is then repeated a day later.
            record
                .withdraw_proof(&self.assignment.root_key, &id, mechanism, noted)
                .ok();
        }
    }
}

/// The first of these proofs that opens with a key.
fn first_that_opens<'a>(open: Open<'_>, id: &KeyId, key: &KeyObject, proofs: &'a [Proof]) -> Option<&'a Proof> {
    proofs.iter().find(|proof| {
        let session = open.session();
        let opened = session.and_then(|session| opens(open, &session, id, key, proof));
        opened.is_ok_and(|opened| opened)
    })
}

/// A wrap of a random key that has been unwrapped again.
pub(super) fn make(open: Open<'_>, id: &KeyId, key: &KeyObject, method: WrapMethod) -> Result<Proof, TokenError> {
    let module = open.module();
    let session = open.session()?;
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
