//! Finds the versions of a root key among a token's objects, and the objects of a version.
//!
//! A partition can hold thousands of keys, and each attribute is a journey to a network HSM. So an object of somebody
//! else is looked at once, with one call, and again within 60 discoveries, since a human may have renamed it: a sixtieth
//! of them each time. Our own are few and read each time: their labels change. With a list in the configuration nothing
//! else is looked at, and labels say nothing.
//!
//! A discovery goes in stretches, so that others have their turn in between. What it knows is locked only while nobody
//! waits for the token.

mod candidate;
mod judge;
mod pair;
mod search;

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use cryptoki::object::Attribute;
use cryptoki::session::Session;

use crate::backend::pkcs11::label;
use crate::backend::pkcs11::options::ListedVersion;
use crate::backend::pkcs11::options::ObjectName;
use crate::backend::pkcs11::worker::calls::Calls;
use crate::backend::pkcs11::worker::error::TokenError;
use crate::backend::pkcs11::worker::find::candidate::Candidate;
use crate::backend::pkcs11::worker::find::candidate::Makeup;
use crate::backend::pkcs11::worker::find::judge::Judgement;
use crate::backend::pkcs11::worker::find::judge::Kinship;
use crate::backend::pkcs11::worker::find::search::Place;
use crate::backend::pkcs11::worker::key_object::KeyObject;
use crate::backend::pkcs11::worker::return_value::ReturnValue;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Version;

/// Within so many discoveries every object is read again.
const ALL_AGAIN: u64 = 60;

/// What came of a stretch of a discovery.
#[derive(Debug)]
pub(super) enum Discovery {
    /// It has not seen all: so many of the token's keys are left.
    Underway { left: usize },
    /// It is done.
    Found(Found),
}

/// What a discovery found.
#[derive(Debug)]
pub(in crate::backend::pkcs11) struct Found {
    /// The versions, in order.
    pub(in crate::backend::pkcs11) versions: Vec<Version>,
    /// What was left out, and why. Every discovery says all of it again.
    pub(in crate::backend::pkcs11) warnings: Vec<String>,
}

/// Finds one root key's versions and remembers what it has read.
#[derive(Debug)]
pub(in crate::backend::pkcs11) struct Finder {
    root_key: RootKeyName,
    listed: Vec<ListedVersion>,
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    /// By handle.
    known: HashMap<u64, Known>,
    discoveries: u64,
    /// Those that are between two stretches, by the number of their call.
    underway: HashMap<u64, Underway>,
    keys: HashMap<KeyId, KeyObject>,
}

/// What is known of an object.
#[derive(Clone, Copy, Debug)]
enum Known {
    /// Until this discovery.
    Foreign(u64),
    Ours(Makeup),
}

/// A discovery that has listed the token's keys, and looked at the first of them.
#[derive(Debug)]
struct Underway {
    places: Vec<Place>,
    sorted: usize,
}

impl Memory {
    /// Of several strangers that are met together each is looked at again in another discovery.
    fn note_foreign(&mut self, handle: u64) {
        let pause = match self.known.get(&handle) {
            Some(Known::Foreign(_)) => ALL_AGAIN,
            Some(Known::Ours(_)) | None => self.known.len() as u64 % ALL_AGAIN + 1,
        };
        self.known.insert(handle, Known::Foreign(self.discoveries + pause));
    }
}

impl Finder {
    /// A finder that knows nothing yet. With `listed` versions, only those count.
    pub(in crate::backend::pkcs11) fn new(root_key: RootKeyName, listed: Vec<ListedVersion>) -> Self {
        Self {
            root_key,
            listed,
            memory: Mutex::default(),
        }
    }

    /// Every version that the token holds now. A session that has lost its login finds nothing, without an error.
    ///
    /// `goes_on` is asked behind each step, which is some calls to the token. When it says no, the discovery may stop; the
    /// next stretch is one with the same number.
    ///
    /// # Errors
    /// The token is in trouble, or holds more than can be looked at. Then the discovery begins anew.
    pub(super) fn find(
        &self,
        calls: &Calls,
        session: &Session,
        number: u64,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Discovery, TokenError> {
        let mut places = Vec::new();
        let mut candidates = Vec::new();
        let Judgement { versions, warnings } = if self.listed.is_empty() {
            let underway = self.memory().underway.remove(&number);
            let mut underway = match underway {
                Some(underway) => underway,
                None => self.list(session, goes_on)?,
            };
            if !self.sort(calls, session, &mut underway, goes_on)? {
                let left = underway.places.len() - underway.sorted;
                self.memory().underway.insert(number, underway);
                return Ok(Discovery::Underway { left });
            }
            for (place, candidate) in self.labelled(session, underway.places, goes_on)? {
                places.push(place);
                candidates.push(candidate);
            }
            judge::by_label(&self.root_key, &candidates)
        } else {
            let mut entries = Vec::new();
            for (entry, version) in self.listed.iter().enumerate() {
                for (place, candidate) in named(session, &version.object)? {
                    entries.push(entry);
                    places.push(place);
                    candidates.push(candidate);
                }
                goes_on();
            }
            judge::by_list(&self.listed, &candidates, &entries)
        };
        // What has gone, or has another handle now, is looked for again when it is needed.
        self.memory().keys.retain(|id, key| {
            let of_it = versions.iter().find(|(version, _)| version.id == *id);
            let handle = of_it
                .and_then(|(_, place)| places.get(*place))
                .map(|place| place.handle);
            handle == Some(key.unwraps)
        });
        let versions = versions.into_iter().map(|(version, _)| version).collect();
        Ok(Discovery::Found(Found { versions, warnings }))
    }

    /// The objects of a version.
    ///
    /// # Errors
    /// [`TokenError::NotFound`] if the token holds no such version of this root key now;
    /// [`TokenError::Refused`] if it holds two, or an RSA key that can't be used.
    pub(in crate::backend::pkcs11) fn key(&self, session: &Session, id: &KeyId) -> Result<KeyObject, TokenError> {
        if let Some(key) = self.memory().keys.get(id) {
            return Ok(*key);
        }
        let with_id = [Attribute::Id(id.as_bytes().to_vec())];
        let mut ours = Vec::new();
        for place in search::keys(session, &with_id, &|| true)? {
            let label = search::label(session, place, search::LONGEST_OF_ANY)?;
            let candidate = search::candidate(session, place, label, None)?;
            // Somebody else's key is none of ours, whatever its id.
            if candidate.id().as_ref() == Some(id) && self.is_ours(&candidate) {
                ours.push((place, candidate));
            }
        }
        let (place, candidate) = match ours.as_slice() {
            [] => return Err(TokenError::NotFound(id.clone())),
            [ours] => ours,
            [_, _, ..] => {
                return Err(TokenError::Refused(format!(
                    "{} keys of the token have the id {id}, which must name one",
                    ours.len()
                )));
            }
        };
        if let Err(flaw) = candidate.usable() {
            return Err(TokenError::Refused(format!(
                "the key with id {id} can't be used: {flaw}"
            )));
        }
        let key = pair::of(session, id, *place)?;
        self.memory().keys.insert(id.clone(), key);
        Ok(key)
    }

    /// Forgets the objects of one version: its handle was refused. What is known of thousands of others stays.
    pub(in crate::backend::pkcs11) fn forget_key(&self, id: &KeyId) {
        self.memory().keys.remove(id);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_ours(&self, candidate: &Candidate) -> bool {
        if self.listed.is_empty() {
            let label = candidate.label();
            return label.is_some_and(|label| label::parse(&self.root_key, label).is_some());
        }
        self.listed.iter().any(|version| is_named(&version.object, candidate))
    }

    /// Begins a discovery: all keys that there are now.
    fn list(&self, session: &Session, goes_on: &dyn Fn() -> bool) -> Result<Underway, TokenError> {
        let places = search::keys(session, &[], goes_on)?;
        let handles: HashSet<u64> = places.iter().map(|place| place.handle.handle()).collect();
        let mut memory = self.memory();
        memory.discoveries += 1;
        memory.known.retain(|handle, _| handles.contains(handle));
        Ok(Underway { places, sorted: 0 })
    }

    /// Tells strangers from what may be ours. `false`: some are left to look at.
    fn sort(
        &self,
        calls: &Calls,
        session: &Session,
        underway: &mut Underway,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<bool, TokenError> {
        while let Some(place) = underway.places.get(underway.sorted) {
            underway.sorted += 1;
            let handle = place.handle.handle();
            let is_due = {
                let memory = self.memory();
                match memory.known.get(&handle) {
                    Some(Known::Ours(_)) => false,
                    Some(Known::Foreign(until)) => *until <= memory.discoveries,
                    None => true,
                }
            };
            if !is_due {
                continue;
            }
            match search::label_at_once(calls, session, *place) {
                Ok(label) if judge::kinship(&self.root_key, label.as_deref()) == Kinship::Foreign => {
                    self.memory().note_foreign(handle);
                }
                Ok(_) => drop(self.memory().known.remove(&handle)),
                // Where ours are read it is seen whether it has gone.
                Err(error) if error.value() == Some(ReturnValue::OBJECT_HANDLE_INVALID) => {
                    self.memory().known.remove(&handle);
                }
                Err(error) => return Err(error),
            }
            if !goes_on() {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The objects whose label says that they are ours, or was meant to. All are read together, so that the list is of one
    /// moment, however long it took to tell them from others.
    fn labelled(
        &self,
        session: &Session,
        places: Vec<Place>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Vec<(Place, Candidate)>, TokenError> {
        let mut candidates = Vec::new();
        let mut gone = Vec::new();
        for place in places {
            match self.look(session, place) {
                Ok(Seen::Before) => continue,
                Ok(Seen::Foreign) => {}
                Ok(Seen::Ours(candidate)) => candidates.push((place, candidate)),
                Err(error) if error.value() == Some(ReturnValue::OBJECT_HANDLE_INVALID) => gone.push((place, error)),
                Err(error) => return Err(error),
            }
            goes_on();
        }
        if gone.is_empty() {
            return Ok(candidates);
        }
        // Destroyed by another process while we looked; or a token that says so when it has lost the login.
        let left = search::keys(session, &[], goes_on)?;
        let left: HashSet<u64> = left.iter().map(|place| place.handle.handle()).collect();
        for (place, error) in gone {
            if left.contains(&place.handle.handle()) {
                return Err(error);
            }
        }
        Ok(candidates)
    }

    fn look(&self, session: &Session, place: Place) -> Result<Seen, TokenError> {
        let handle = place.handle.handle();
        let makeup = match self.memory().known.get(&handle) {
            Some(Known::Foreign(_)) => return Ok(Seen::Before),
            Some(Known::Ours(makeup)) => Some(*makeup),
            None => None,
        };
        let label = search::label(session, place, search::LONGEST_OF_OURS)?;
        if judge::kinship(&self.root_key, label.as_deref()) == Kinship::Foreign {
            self.memory().note_foreign(handle);
            return Ok(Seen::Foreign);
        }
        let candidate = search::candidate(session, place, label, makeup)?;
        self.memory().known.insert(handle, Known::Ours(candidate.makeup));
        Ok(Seen::Ours(candidate))
    }
}

/// What a look at an object shows.
enum Seen {
    /// A stranger, as was known.
    Before,
    Foreign,
    Ours(Candidate),
}

/// The objects that a listed version names.
fn named(session: &Session, object: &ObjectName) -> Result<Vec<(Place, Candidate)>, TokenError> {
    let with = match object {
        ObjectName::Id(id) => Attribute::Id(id.as_bytes().to_vec()),
        ObjectName::Label(label) => Attribute::Label(label.as_bytes().to_vec()),
    };
    let mut found = Vec::new();
    for place in search::keys(session, &[with], &|| true)? {
        let label = search::label(session, place, search::LONGEST_OF_ANY)?;
        let candidate = search::candidate(session, place, label, None)?;
        // A token that looks only at a part of what it is asked for must not choose for us.
        if is_named(object, &candidate) {
            found.push((place, candidate));
        }
    }
    Ok(found)
}

fn is_named(object: &ObjectName, candidate: &Candidate) -> bool {
    match object {
        ObjectName::Id(id) => candidate.id.as_deref() == Some(id.as_bytes()),
        ObjectName::Label(label) => candidate.label.as_deref() == Some(label.as_bytes()),
    }
}

#[cfg(test)]
mod tests;
