//! The finder's cache of a token's objects between discoveries.

use std::collections::HashMap;
use std::collections::HashSet;

use crate::root_key::id::KeyId;
use crate::token::key_object::KeyKind;
use crate::token::key_object::KeyObject;
use crate::token::objects::admission::Admission;
use crate::token::objects::candidate::Candidate;
use crate::token::objects::candidate::Makeup;
use crate::token::objects::search::FoundKey;

/// Every object is read again within this number of discoveries.
const ALL_AGAIN: u64 = 60;

#[derive(Debug, Default)]
pub(super) struct Memory {
    /// By handle.
    pub(super) known: HashMap<u64, Known>,
    /// The attributes of the public objects that do not count.
    pub(super) public: HashMap<u64, Candidate>,
    pub(super) admission: Option<Admission>,
    pub(super) discoveries: u64,
    /// The discoveries between two time slices, by the number of their call.
    pub(super) underway: HashMap<u64, Underway>,
    pub(super) keys: HashMap<KeyId, KnownKey>,
}

/// A cached object.
#[derive(Clone, Copy, Debug)]
pub(super) enum Known {
    /// Another application's object. Valid until this discovery.
    Foreign(u64),
    /// A public object with a label of the root key, which does not count. Valid until this discovery.
    Public(u64),
    Ours(Makeup),
}

/// The objects of a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownKey {
    pub(super) key: KeyObject,
    /// Whether the object that unwraps is private.
    pub(super) private: bool,
    /// Whether the proof record has confirmed that it is the same key as before.
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

/// A discovery that has listed the token's keys, and read some of them.
#[derive(Debug)]
pub(super) struct Underway {
    pub(super) places: Vec<FoundKey>,
    pub(super) sorted: usize,
}

impl Memory {
    /// Begins a discovery of these objects, and forgets all others.
    pub(super) fn begin(&mut self, handles: &HashSet<u64>) {
        self.discoveries += 1;
        self.known.retain(|handle, _| handles.contains(handle));
        self.public.retain(|handle, _| handles.contains(handle));
    }

    /// Whether an object is to be read in this discovery, before the root key's own objects are read.
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

    /// Spreads the next reads of objects that were found together over different discoveries.
    fn pause(&self, handle: u64) -> u64 {
        match self.known.get(&handle) {
            Some(Known::Foreign(_) | Known::Public(_)) => ALL_AGAIN,
            Some(Known::Ours(_)) | None => self.known.len() as u64 % ALL_AGAIN + 1,
        }
    }
}
