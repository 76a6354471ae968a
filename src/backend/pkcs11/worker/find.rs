//! Finds the versions of a root key among a token's objects, and the objects of a version.
//!
//! A partition can hold thousands of keys, and each attribute is a journey to a network HSM. So an object of somebody
//! else is read once, and again only with every 60th discovery, since a human may have renamed it. Our own are few and
//! read each time: their labels change. With a list in the configuration nothing else is looked at, and labels say
//! nothing.

mod candidate;
mod judge;
mod pair;
mod search;

use std::collections::HashMap;
use std::collections::HashSet;

use cryptoki::object::Attribute;
use cryptoki::session::Session;

use crate::backend::pkcs11::label;
use crate::backend::pkcs11::options::ListedVersion;
use crate::backend::pkcs11::options::ObjectName;
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

/// With every so many discoveries all objects are read again.
const ALL_AGAIN: u32 = 60;

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
    /// By handle.
    known: HashMap<u64, Known>,
    discoveries: u32,
    keys: HashMap<KeyId, KeyObject>,
}

/// What is known of an object.
#[derive(Clone, Copy, Debug)]
enum Known {
    Foreign,
    Ours(Makeup),
}

impl Finder {
    /// A finder that knows nothing yet. With `listed` versions, only those count.
    pub(in crate::backend::pkcs11) fn new(root_key: RootKeyName, listed: Vec<ListedVersion>) -> Self {
        Self {
            root_key,
            listed,
            known: HashMap::new(),
            discoveries: 0,
            keys: HashMap::new(),
        }
    }

    /// Every version that the token holds now. A session that has lost its login finds nothing, without an error.
    ///
    /// # Errors
    /// The token is in trouble, or holds more than can be looked at.
    pub(in crate::backend::pkcs11) fn find(&mut self, session: &Session) -> Result<Found, TokenError> {
        let mut places = Vec::new();
        let mut candidates = Vec::new();
        let Judgement { versions, warnings } = if self.listed.is_empty() {
            for (place, candidate) in self.labelled(session)? {
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
            }
            judge::by_list(&self.listed, &candidates, &entries)
        };
        // What has gone, or has another handle now, is looked for again when it is needed.
        self.keys.retain(|id, key| {
            let of_it = versions.iter().find(|(version, _)| version.id == *id);
            let handle = of_it
                .and_then(|(_, place)| places.get(*place))
                .map(|place| place.handle);
            handle == Some(key.unwraps)
        });
        let versions = versions.into_iter().map(|(version, _)| version).collect();
        Ok(Found { versions, warnings })
    }

    /// The objects of a version.
    ///
    /// # Errors
    /// [`TokenError::NotFound`] if the token holds no such version of this root key now;
    /// [`TokenError::Refused`] if it holds two, or an RSA key that can't be used.
    pub(in crate::backend::pkcs11) fn key(&mut self, session: &Session, id: &KeyId) -> Result<KeyObject, TokenError> {
        if let Some(key) = self.keys.get(id) {
            return Ok(*key);
        }
        let with_id = [Attribute::Id(id.as_bytes().to_vec())];
        let mut ours = Vec::new();
        for place in search::keys(session, &with_id)? {
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
        self.keys.insert(id.clone(), key);
        Ok(key)
    }

    /// Forgets the objects of one version: its handle was refused. What is known of thousands of others stays.
    pub(in crate::backend::pkcs11) fn forget_key(&mut self, id: &KeyId) {
        self.keys.remove(id);
    }

    fn is_ours(&self, candidate: &Candidate) -> bool {
        if self.listed.is_empty() {
            let label = candidate.label();
            return label.is_some_and(|label| label::parse(&self.root_key, label).is_some());
        }
        self.listed.iter().any(|version| is_named(&version.object, candidate))
    }

    /// The objects whose label says that they are ours, or was meant to.
    fn labelled(&mut self, session: &Session) -> Result<Vec<(Place, Candidate)>, TokenError> {
        self.discoveries = self.discoveries.wrapping_add(1);
        if self.discoveries.is_multiple_of(ALL_AGAIN) {
            self.known.clear();
        }
        let places = search::keys(session, &[])?;
        let handles: HashSet<u64> = places.iter().map(|place| place.handle.handle()).collect();
        self.known.retain(|handle, _| handles.contains(handle));
        let mut candidates = Vec::new();
        let mut gone = Vec::new();
        for place in places {
            match self.look(session, place) {
                Ok(None) => {}
                Ok(Some(candidate)) => candidates.push((place, candidate)),
                Err(error) if error.value() == Some(ReturnValue::OBJECT_HANDLE_INVALID) => gone.push((place, error)),
                Err(error) => return Err(error),
            }
        }
        if gone.is_empty() {
            return Ok(candidates);
        }
        // Destroyed by another process while we looked; or a token that says so when it has lost the login.
        let left = search::keys(session, &[])?;
        for (place, error) in gone {
            if left.iter().any(|left| left.handle == place.handle) {
                return Err(error);
            }
        }
        Ok(candidates)
    }

    fn look(&mut self, session: &Session, place: Place) -> Result<Option<Candidate>, TokenError> {
        let handle = place.handle.handle();
        let makeup = match self.known.get(&handle) {
            Some(Known::Foreign) => return Ok(None),
            Some(Known::Ours(makeup)) => Some(*makeup),
            None => None,
        };
        let label = search::label(session, place, search::LONGEST_OF_OURS)?;
        if judge::kinship(&self.root_key, label.as_deref()) == Kinship::Foreign {
            self.known.insert(handle, Known::Foreign);
            return Ok(None);
        }
        let candidate = search::candidate(session, place, label, makeup)?;
        self.known.insert(handle, Known::Ours(candidate.makeup));
        Ok(Some(candidate))
    }
}

/// The objects that a listed version names.
fn named(session: &Session, object: &ObjectName) -> Result<Vec<(Place, Candidate)>, TokenError> {
    let with = match object {
        ObjectName::Id(id) => Attribute::Id(id.as_bytes().to_vec()),
        ObjectName::Label(label) => Attribute::Label(label.as_bytes().to_vec()),
    };
    let mut found = Vec::new();
    for place in search::keys(session, &[with])? {
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
