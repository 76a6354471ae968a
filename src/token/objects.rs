//! Finds the versions of a root key among a token's objects, and the objects of a version.
//!
//! A partition can hold thousands of keys, and each attribute costs a network HSM a round trip. So another
//! application's object is read once, with one call, and read again within 60 discoveries, because a human may have
//! renamed it: one sixtieth of them in each discovery. Objects of the root key are few and are read each time, because
//! their labels change. With a list in the configuration no other object is read, and labels have no effect.
//!
//! A discovery is split into time slices, so that calls run in between. Its memory is locked only between calls to the
//! token.

mod admission;
mod candidate;
mod classify;
mod key_pair;
mod known_keys;
mod labelled;
mod memory;
mod named;
mod search;

use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use cryptoki::object::AttributeType;
use cryptoki::session::Session;

use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Version;
use crate::token::attribute;
use crate::token::error::TokenError;
use crate::token::key_object::KeyObject;
use crate::token::label;
use crate::token::objects::candidate::Candidate;
use crate::token::objects::candidate::Class;
use crate::token::objects::classify::Judgement;
use crate::token::objects::classify::Ownership;
use crate::token::objects::memory::Known;
use crate::token::objects::memory::KnownKey;
use crate::token::objects::memory::Memory;
use crate::token::objects::memory::Underway;
use crate::token::objects::search::FoundKey;
use crate::token::options::ListedVersion;
use crate::token::options::ObjectName;
use crate::token::raw::Calls;
use crate::token::return_value::ReturnValue;

/// The result of a time slice of a discovery.
#[derive(Debug)]
pub(crate) enum Discovery {
    /// The discovery is not complete: `left` keys of the token are still to be read.
    Underway { left: usize },
    /// The discovery is complete.
    Found(Found),
}

/// The result of a discovery.
#[derive(Debug)]
pub(crate) struct Found {
    /// The versions, in order.
    pub(crate) versions: Vec<Version>,
    /// The objects that were left out, with reasons. Every discovery repeats them all.
    pub(crate) warnings: Vec<String>,
    /// Whether a private key is among them: the work of somebody who has the PIN.
    pub(crate) leaves_out_private_key: bool,
    /// The versions that count although their objects are public and should be private.
    pub(crate) public: Vec<Version>,
}

pub(crate) use admission::Admission;
pub(crate) use admission::UpTo;

/// Finds one root key's versions and caches what it has read.
#[derive(Debug)]
pub(crate) struct Finder {
    root_key: RootKeyName,
    listed: Vec<ListedVersion>,
    memory: Mutex<Memory>,
}

impl Finder {
    /// A finder with an empty cache. With `listed` versions, only those count.
    pub(crate) fn new(root_key: RootKeyName, listed: Vec<ListedVersion>) -> Self {
        Self {
            root_key,
            listed,
            memory: Mutex::default(),
        }
    }

    /// Every version that the token holds now. A session that has lost its login finds nothing, and gives no error.
    ///
    /// `heartbeat` is called after each step of a few calls to the token. If it returns false, the discovery may stop;
    /// the next call with the same number continues it.
    ///
    /// # Errors
    /// The token fails, or holds more objects than can be read. The discovery then begins anew.
    pub(crate) fn find(
        &self,
        calls: &Calls,
        session: &Session,
        number: u64,
        heartbeat: &dyn Fn() -> bool,
    ) -> Result<Discovery, TokenError> {
        let admission = self.memory().admission.clone().unwrap_or_default();
        let (candidates, judgement) = if self.listed.is_empty() {
            let underway = self.memory().underway.remove(&number);
            let mut underway = match underway {
                Some(underway) => underway,
                None => self.list(session, &admission, heartbeat)?,
            };
            if !self.sort(calls, session, &admission, &mut underway, heartbeat)? {
                let left = underway.places.len() - underway.sorted;
                self.memory().underway.insert(number, underway);
                return Ok(Discovery::Underway { left });
            }
            self.by_label(session, &admission, underway.places, heartbeat)?
        } else {
            self.by_list(session, &admission, heartbeat)?
        };
        let Judgement {
            versions,
            warnings,
            leaves_out_private_key,
        } = judgement;
        let public = versions
            .iter()
            .filter(|(_, at)| {
                let candidate = candidates.get(*at).map(|(_, candidate)| candidate);
                admission != Admission::All && candidate.is_some_and(|candidate| !candidate.private)
            })
            .map(|(version, _)| version.clone())
            .collect();
        // A key that is gone or has a new handle is searched again when it is needed.
        self.memory().keys.retain(|id, known| {
            let of_it = versions.iter().find(|(version, _)| version.id == *id);
            let listed = of_it.and_then(|(_, at)| candidates.get(*at));
            let listed = listed.filter(|(place, _)| place.handle == known.key.unwraps);
            if let Some((_, candidate)) = listed {
                known.listed_again(candidate.private);
            }
            listed.is_some()
        });
        let versions = versions.into_iter().map(|(version, _)| version).collect();
        Ok(Discovery::Found(Found {
            versions,
            warnings,
            leaves_out_private_key,
            public,
        }))
    }

    /// The objects of a version. `heartbeat` is called after each step for its side effects: other users of the token can
    /// make any number of objects with this id.
    ///
    /// # Errors
    /// [`TokenError::NotFound`] if the token holds no such version of this root key now;
    /// [`TokenError::Refused`] if it holds two, or an RSA key that cannot be used.
    pub(crate) fn key(
        &self,
        session: &Session,
        id: &KeyId,
        heartbeat: &dyn Fn() -> bool,
    ) -> Result<KeyObject, TokenError> {
        let known = self.memory().keys.get(id).copied();
        if let Some(known) = known {
            return self.with_its_half(session, id, known, heartbeat);
        }
        let admission = self.memory().admission.clone().unwrap_or_default();
        let name = ObjectName::Id(id.clone());
        // Another application's key does not count, whatever its id is.
        let ours = |found: Vec<(FoundKey, Candidate)>| {
            let ours = found.into_iter().filter(|(_, candidate)| self.is_ours(candidate));
            admission.sort(ours.collect()).0
        };
        let mut found = ours(named::private(session, &name, &admission, heartbeat)?);
        if found.is_empty() {
            found = ours(named::all(session, &name, &admission, heartbeat)?);
        }
        let ours = found;
        let (place, candidate) = match ours.as_slice() {
            [] => return Err(TokenError::NotFound(id.clone())),
            [ours] => ours,
            [_, _, ..] => {
                return Err(TokenError::Refused(format!(
                    "{} keys of the token have the id {id}, which must be unique",
                    ours.len()
                )));
            }
        };
        if let Err(flaw) = candidate.usable() {
            return Err(TokenError::Refused(format!(
                "the key with id {id} cannot be used: {flaw}"
            )));
        }
        // Each use would fail as if the login were lost, and dekhand would log in again and again.
        let asks_each_time = || attribute::flag(session, place.handle, AttributeType::AlwaysAuthenticate);
        if place.class == Class::Private && asks_each_time() == Some(true) {
            return Err(TokenError::Refused(format!(
                "the key with id {id} cannot be used: the token asks for the PIN at each use of it \
                 (CKA_ALWAYS_AUTHENTICATE), so make a key without this property"
            )));
        }
        let key = key_pair::of(session, id, *place, heartbeat)?;
        let known = KnownKey {
            key,
            private: candidate.private,
            proven: false,
            half_due: false,
        };
        self.memory().keys.insert(id.clone(), known);
        Ok(key)
    }

    /// Sets which public objects count. Before that none do.
    pub(crate) fn admit(&self, admission: Admission) {
        let mut memory = self.memory();
        if memory.admission.as_ref() != Some(&admission) {
            // A public object that did not count before may count now.
            memory.known.retain(|_, known| !matches!(known, Known::Public(_)));
            memory.public.clear();
            memory.admission = Some(admission);
        }
    }

    /// Whether it is set which public objects count.
    pub(crate) fn has_admission(&self) -> bool {
        self.memory().admission.is_some()
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ours(&self, candidate: &Candidate) -> bool {
        if self.listed.is_empty() {
            let label = candidate.label();
            return label.is_some_and(|label| label::parse(&self.root_key, label).is_some());
        }
        self.listed
            .iter()
            .any(|version| named::is_named(&version.object, candidate))
    }

    /// Begins a discovery: lists all keys of the token.
    fn list(
        &self,
        session: &Session,
        admission: &Admission,
        heartbeat: &dyn Fn() -> bool,
    ) -> Result<Underway, TokenError> {
        let places = match search::keys(session, &[], heartbeat) {
            // Other users of the token can make any number of public objects.
            Err(TokenError::Refused(refusal)) if admission.prefers_private() => {
                let private = search::private_keys(session, &[], heartbeat)?;
                private.ok_or(TokenError::Refused(refusal))?
            }
            places => places?,
        };
        let handles: HashSet<u64> = places.iter().map(|place| place.handle.handle()).collect();
        self.memory().begin(&handles);
        Ok(Underway { places, sorted: 0 })
    }

    /// Separates objects that may be the root key's from other applications' objects and from public ones that do not
    /// count. `false`: some objects are still to be read.
    fn sort(
        &self,
        calls: &Calls,
        session: &Session,
        admission: &Admission,
        underway: &mut Underway,
        heartbeat: &dyn Fn() -> bool,
    ) -> Result<bool, TokenError> {
        while let Some(place) = underway.places.get(underway.sorted) {
            underway.sorted += 1;
            let handle = place.handle.handle();
            if !self.memory().is_due(handle) {
                continue;
            }
            match self.sort_one(calls, session, admission, *place) {
                Ok(()) => {}
                // A missing object is noticed when the root key's own objects are read.
                Err(error) if error.value() == Some(ReturnValue::OBJECT_HANDLE_INVALID) => {
                    self.memory().forget(handle);
                }
                Err(error) => return Err(error),
            }
            if !heartbeat() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn sort_one(
        &self,
        calls: &Calls,
        session: &Session,
        admission: &Admission,
        place: FoundKey,
    ) -> Result<(), TokenError> {
        let handle = place.handle.handle();
        let label = search::label_at_once(calls, session, place)?;
        if classify::kinship(&self.root_key, label.as_deref()) == Ownership::Foreign {
            self.memory().note_foreign(handle);
            return Ok(());
        }
        if admission.prefers_private() && !attribute::is_private(session, place.handle)? {
            let label = search::label(session, place, search::LONGEST_OF_OURS)?;
            let candidate = search::candidate(session, place, label, None)?;
            if !candidate.private && !candidate.id().is_some_and(|id| admission.may_admit(&id)) {
                self.memory().note_public(handle, candidate);
                return Ok(());
            }
        }
        self.memory().forget(handle);
        Ok(())
    }

    /// Judges the objects by their labels.
    fn by_label(
        &self,
        session: &Session,
        admission: &Admission,
        places: Vec<FoundKey>,
        heartbeat: &dyn Fn() -> bool,
    ) -> Result<(Vec<(FoundKey, Candidate)>, Judgement), TokenError> {
        let (found, beside) = admission.sort(self.labelled(session, places, heartbeat)?);
        let candidates: Vec<&Candidate> = found.iter().map(|(_, candidate)| candidate).collect();
        let mut judgement = classify::by_label(&self.root_key, &candidates);
        let memory = self.memory();
        let mut public: Vec<&Candidate> = beside.iter().map(|(_, candidate)| candidate).collect();
        public.extend(memory.public.values());
        judgement.warnings.extend(admission::left_out(public));
        drop(memory);
        Ok((found, judgement))
    }

    /// Judges the objects that the configuration lists.
    fn by_list(
        &self,
        session: &Session,
        admission: &Admission,
        heartbeat: &dyn Fn() -> bool,
    ) -> Result<(Vec<(FoundKey, Candidate)>, Judgement), TokenError> {
        let mut all = Vec::new();
        for (entry, version) in self.listed.iter().enumerate() {
            let named = named::all(session, &version.object, admission, heartbeat)?;
            all.extend(named.into_iter().map(|(place, candidate)| ((entry, place), candidate)));
        }
        let (mut found, mut beside) = admission.sort(all);
        if admission.prefers_private() {
            let with_private: HashSet<usize> = found
                .iter()
                .filter(|(_, candidate)| candidate.private)
                .map(|((entry, _), _)| *entry)
                .collect();
            let is_beside = |((entry, _), candidate): &mut ((usize, FoundKey), Candidate)| {
                !candidate.private && with_private.contains(entry)
            };
            beside.extend(found.extract_if(.., is_beside));
        }
        let entries: Vec<usize> = found.iter().map(|((entry, _), _)| *entry).collect();
        let found: Vec<(FoundKey, Candidate)> = found.into_iter().map(|((_, place), of)| (place, of)).collect();
        let candidates: Vec<&Candidate> = found.iter().map(|(_, candidate)| candidate).collect();
        let mut judgement = classify::by_list(&self.listed, &candidates, &entries);
        let public = beside.iter().map(|(_, candidate)| candidate).collect();
        judgement.warnings.extend(admission::left_out(public));
        Ok((found, judgement))
    }
}

#[cfg(test)]
mod tests;
