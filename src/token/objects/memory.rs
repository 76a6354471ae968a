//! What a finder remembers of a token's objects between discoveries.

use std::collections::HashMap;
use std::collections::HashSet;

use crate::root_key::id::KeyId;
use crate::token::key_object::KeyKind;
use crate::token::key_object::KeyObject;
use crate::token::objects::admission::Admission;
use crate::token::objects::candidate::Candidate;
use crate::token::objects::candidate::Makeup;
use crate::token::objects::search::Place;

/// Within so many discoveries every object is read again.
const ALL_AGAIN: u64 = 60;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By handle.
    pub(super) known: HashMap<u64, Known>,
    /// What was read of the public objects that do not count.
    pub(super) public: HashMap<u64, Candidate>,
    pub(super) admission: Option<Admission>,
    pub(super) discoveries: u64,
    /// Those that are between two stretches, by the number of their call.
    pub(super) underway: HashMap<u64, Underway>,
    pub(super) keys: HashMap<KeyId, KnownKey>,
}

/// What is known of an object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    /// Until this discovery.
    Foreign(u64),
    /// A public object with a label of ours, which does not count. Until this discovery.
    Public(u64),
    Ours(Makeup),
}

/// The objects of a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownKey {
    pub(super) key: KeyObject,
    /// Whether what unwraps is a private object.
    pub(super) private: bool,
    /// Whether the proof record has shown that it is the key of before.
    pub(super) proven: bool,
    /// Whether the public half of a pair is to be looked for before the next use.
    pub(super) half_due: bool,
}

impl KnownKey {
    /// A list shows the object under the same handle. A module may give the handle of a destroyed object to another one, so
    /// public objects, which can be exchanged without the PIN, are not taken for what they were.
    pub(super) fn listed_again(&mut self, private: bool) {
        self.private = private;
        self.proven &= private;
        self.half_due = matches!(self.key.kind, KeyKind::Rsa { .. });
    }
}

/// A discovery that has listed the token's keys, and looked at the first of them.
#[derive(Debug)]
pub(super) struct Underway {
    pub(super) places: Vec<Place>,
    pub(super) sorted: usize,
}

impl Memory {
    /// Begins a discovery of these objects: what is gone is forgotten.
    pub(super) fn begin(&mut self, handles: &HashSet<u64>) {
        self.discoveries += 1;
        self.known.retain(|handle, _| handles.contains(handle));
        self.public.retain(|handle, _| handles.contains(handle));
    }

    /// Whether an object is to be looked at in this discovery, before those that are ours are read.
    pub(super) fn is_due(&self, handle: u64) -> bool {
        match self.known.get(&handle) {
            Some(Known::Ours(_)) => false,
            Some(Known::Foreign(until) | Known::Public(until)) => *until <= self.discoveries,
            None => true,
        }
    }

    pub(super) fn note_foreign(&mut self, handle: u64) {
        let until = self.discoveries + self.pause(handle);
        self.public.remove(&handle);
        self.known.insert(handle, Known::Foreign(until));
    }

    pub(super) fn note_public(&mut self, handle: u64, candidate: Candidate) {
        let until = self.discoveries + self.pause(handle);
        self.public.insert(handle, candidate);
        self.known.insert(handle, Known::Public(until));
    }

    pub(super) fn forget(&mut self, handle: u64) {
        self.public.remove(&handle);
        self.known.remove(&handle);
    }

    /// Of several objects that are met together each is looked at again in another discovery.
    fn pause(&self, handle: u64) -> u64 {
        match self.known.get(&handle) {
            Some(Known::Foreign(_) | Known::Public(_)) => ALL_AGAIN,
            Some(Known::Ours(_)) | None => self.known.len() as u64 % ALL_AGAIN + 1,
        }
    }
}
