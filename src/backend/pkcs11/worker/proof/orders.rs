//! Finds the proofs that a version lacks, and orders those for which no call waits.

use std::collections::HashSet;
use std::time::Duration;

use crate::backend::pkcs11::worker::mutex::lock;
use crate::backend::pkcs11::worker::proof::Proofs;
use crate::backend::pkcs11::worker::proof::pending::Entry;
use crate::backend::pkcs11::worker::proof::pending::Source;
use crate::backend::pkcs11::worker::proof::pending::Wanted;
use crate::backend::pkcs11::worker::sessions::Open;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::token::key_object::KeyObject;
use crate::token::proof_record::Proof;
use crate::token::wrap::select;

/// A mechanism that has given no proof is tried again after this time.
const UNTIL_TRIED_AGAIN: Duration = Duration::from_secs(24 * 3600);

impl Proofs {
    /// Whether a usable version has no record yet. A wrapped key that it has opened will identify it.
    pub(in crate::backend::pkcs11::worker) fn lacks_a_record(&self, id: &KeyId) -> bool {
        self.recorder().is_some() && lock(&self.recorded).get(id).is_some_and(HashSet::is_empty)
    }

    /// Whether a recorded version lacks proofs by some mechanisms that are untried: a token may stop permitting one.
    pub(in crate::backend::pkcs11::worker) fn lacks_proofs(
        &self,
        id: &KeyId,
        key: &KeyObject,
        mechanism: Mechanism,
    ) -> bool {
        let recorded = lock(&self.recorded).get(id).cloned().unwrap_or_default();
        let has_few = !recorded.is_empty() && (recorded.len() == 1 || !recorded.contains(&mechanism));
        self.recorder().is_some() && has_few && !self.untried(id, key).is_empty()
    }

    /// Orders proofs by every mechanism that the token supports with this key. A proof that fails is only missing
    /// later.
    pub(in crate::backend::pkcs11::worker) fn want_other_mechanisms(&self, id: &KeyId, key: &KeyObject) {
        if self.recorder().is_none() {
            return;
        }
        for mechanism in self.untried(id, key) {
            lock(&self.tried).insert((id.clone(), mechanism), self.clock.boottime());
            self.want(id, key, Source::Token(mechanism), Entry::Beside);
        }
    }

    /// The mechanisms for such a key by which a version is not recorded, and which were not tried lately.
    fn untried(&self, id: &KeyId, key: &KeyObject) -> Vec<Mechanism> {
        let recorded = lock(&self.recorded).get(id).cloned().unwrap_or_default();
        let (tried, now) = (lock(&self.tried), self.clock.boottime());
        let is_recent = |since: &Duration| now.saturating_sub(*since) < UNTIL_TRIED_AGAIN;
        let mechanisms = of_kind(key).filter(|mechanism| !recorded.contains(mechanism));
        mechanisms
            .filter(|mechanism| !tried.get(&(id.clone(), *mechanism)).is_some_and(is_recent))
            .collect()
    }

    /// Orders the record of a version that has unwrapped before it has wrapped. With integrity protection the opened
    /// wrap itself is the proof. By the other mechanisms any bytes open, so a wrap is made, if the key can wrap.
    pub(in crate::backend::pkcs11::worker) fn record_first_unwrap(
        &self,
        open: Open<'_>,
        id: &KeyId,
        key: &KeyObject,
        (wrapped, data_key): (&Wrapped, &Key),
    ) {
        if self.recorder().is_none() {
            return;
        }
        open.finder().note_proven(id, key);
        let source = if wrapped.mechanism.is_committed() {
            Source::Token(wrapped.mechanism)
        } else {
            Source::Opened(Proof::new(wrapped.clone(), data_key))
        };
        self.want(id, key, source, Entry::First);
    }

    fn want(&self, id: &KeyId, key: &KeyObject, source: Source, entry: Entry) {
        let (id, key) = (id.clone(), *key);
        self.pending.push(Wanted { id, key, source, entry });
    }

    /// Waits until all ordered proofs are made.
    #[cfg(test)]
    pub(in crate::backend::pkcs11::worker) fn until_made(&self) {
        self.pending.until_made();
    }

    /// As if this process had tried no mechanism.
    #[cfg(test)]
    pub(in crate::backend::pkcs11::worker) fn forget_tries(&self) {
        lock(&self.tried).clear();
    }

    /// As if this process had not read the record.
    #[cfg(test)]
    pub(in crate::backend::pkcs11::worker) fn forget_record(&self) {
        lock(&self.recorded).clear();
    }

    /// Whether this process has tried a mechanism.
    #[cfg(test)]
    pub(in crate::backend::pkcs11::worker) fn has_tried(&self, id: &KeyId, mechanism: Mechanism) -> bool {
        lock(&self.tried).contains_key(&(id.clone(), mechanism))
    }
}

/// The mechanisms that there are for a key of this kind.
pub(super) fn of_kind(key: &KeyObject) -> impl Iterator<Item = Mechanism> {
    let kind = key.kind;
    Mechanism::ALL
        .into_iter()
        .filter(move |mechanism| select::is_of_kind(*mechanism, kind))
}
