//! The modelled stores: replicas of one root key, changed by commands, with a delay between replicas.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use dekhand::clock::Timestamp;
use dekhand::root_key::id::KeyId;
use dekhand::root_key::version::Number;
use dekhand::root_key::version::State;
use dekhand::root_key::version::Version;
use dekhand::secret::Key;
use tokio::time::Instant;

use crate::chance::hash;

/// The place of the root key's versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Topology {
    /// One store serves all nodes.
    Shared,
    /// A store on every node; operators copy versions between them.
    PerNode,
    /// A member of one store on every node; changes reach the other members with a delay.
    Late,
}

/// The kind of store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// A file: read by listings, used from memory, dates to the second, one command at a time.
    Keyring,
    /// A token: every call reaches it, dates to the minute, commands may overlap.
    Token,
}

/// The fault of a node's connection to its store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mood {
    /// None.
    Good,
    /// Every call fails at once.
    Away,
    /// Every call fails after the backend's limit.
    Hangs,
    /// Lists and unwraps, but refuses wraps.
    NoWraps,
    /// Lists, but refuses everything else.
    NoUse,
    /// Unwraps to wrong keys.
    Lies,
}

impl Mood {
    /// Whether the store is unreachable.
    pub(crate) fn is_outage(self) -> bool {
        matches!(self, Self::Away | Self::Hangs)
    }
}

/// A version in a replica.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) version: Version,
    pub(crate) key: Arc<Key>,
    /// When and where its state was last changed: of two changes the later one wins.
    pub(crate) stamp: (Duration, usize),
    /// When its state arrived here.
    pub(crate) changed: Instant,
    /// Since when it has been here and has decrypted.
    pub(crate) since: Option<Instant>,
    /// Whether it has decrypted the whole time that it was here.
    pub(crate) fresh: bool,
}

impl Held {
    fn set(&mut self, state: State, stamp: (Duration, usize)) {
        self.version.state = state;
        self.stamp = stamp;
        self.changed = Instant::now();
        match (state.decrypts(), self.since) {
            (true, None) => self.since = Some(Instant::now()),
            (false, _) => (self.since, self.fresh) = (None, false),
            (true, Some(_)) => {}
        }
    }
}

/// One copy of the root key.
#[derive(Clone, Debug, Default)]
pub(crate) struct Replica {
    pub(crate) held: Vec<Held>,
    destroyed: BTreeSet<Vec<u8>>,
}

impl Replica {
    pub(crate) fn find(&self, id: &KeyId) -> Option<&Held> {
        self.held.iter().find(|held| held.version.id == *id)
    }

    /// The versions in order.
    pub(crate) fn versions(&self) -> Vec<Version> {
        let mut versions: Vec<Version> = self.held.iter().map(|held| held.version.clone()).collect();
        versions.sort_by(|one, other| one.rank().cmp(&other.rank()));
        versions
    }
}

/// A change on its way to another replica.
#[derive(Clone, Debug)]
pub(crate) enum Change {
    Add(Held),
    Relabel(KeyId, State, (Duration, usize)),
    Destroy(KeyId),
}

/// The history of a version that was ever made.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    pub(crate) id: KeyId,
    pub(crate) number: Number,
    /// Every date from which an operator wanted it to encrypt.
    pub(crate) wanted: Vec<Timestamp>,
}

/// All stores, and the connections to them.
#[derive(Debug)]
pub(crate) struct Stores {
    pub(crate) seed: u64,
    pub(crate) flavour: Flavour,
    pub(crate) topology: Topology,
    start: Instant,
    pub(crate) replicas: Vec<Replica>,
    pub(crate) moods: [Mood; 3],
    /// Isolated replicas, which no change leaves or reaches.
    pub(crate) apart: [bool; 3],
    pub(crate) known: Vec<Known>,
    /// The contents of backups, newest last.
    pub(crate) backups: Vec<Vec<Held>>,
    /// Changes on their way: from, to, change.
    pub(crate) outbox: Vec<(usize, usize, Change)>,
}

/// Stores that daemons, commands and the world share.
pub(crate) type SharedStores = Arc<Mutex<Stores>>;

impl Stores {
    pub(crate) fn new(seed: u64, topology: Topology, flavour: Flavour) -> SharedStores {
        let count = if topology == Topology::Shared { 1 } else { 3 };
        Arc::new(Mutex::new(Self {
            seed,
            flavour,
            topology,
            start: Instant::now(),
            replicas: vec![Replica::default(); count],
            moods: [Mood::Good; 3],
            apart: [false; 3],
            known: Vec::new(),
            backups: Vec::new(),
            outbox: Vec::new(),
        }))
    }

    /// The replica of a node.
    pub(crate) fn place(&self, node: usize) -> usize {
        node.min(self.replicas.len() - 1)
    }

    pub(crate) fn replica(&self, node: usize) -> &Replica {
        &self.replicas[self.place(node)]
    }

    pub(crate) fn known(&self, id: &KeyId) -> Option<&Known> {
        self.known.iter().find(|known| known.id == *id)
    }

    /// Makes a version at a node, with an id drawn from the seed.
    pub(crate) fn add(&mut self, node: usize, number: Number, state: State, key: Key) -> Version {
        let count = self.known.len() as u64;
        let bytes = [hash(&[self.seed, 1, count]), hash(&[self.seed, 2, count])].map(u64::to_be_bytes);
        let id = KeyId::try_from(bytes.concat().as_slice()).unwrap();
        let version = Version { number, state, id };
        self.known.push(Known {
            id: version.id.clone(),
            number,
            wanted: state.moment().into_iter().collect(),
        });
        let held = Held {
            version: version.clone(),
            key: Arc::new(key),
            stamp: self.stamp(node),
            changed: Instant::now(),
            since: Some(Instant::now()),
            fresh: true,
        };
        self.change(node, Change::Add(held));
        version
    }

    /// Changes the state of a version at a node; false if it is not there. `asked` is whether this is a request to
    /// encrypt.
    pub(crate) fn relabel(&mut self, node: usize, id: &KeyId, state: State, asked: bool) -> bool {
        if self.replica(node).find(id).is_none() {
            return false;
        }
        let known = self.known.iter_mut().find(|known| known.id == *id);
        if let (Some(known), State::ActiveFrom(moment), true) = (known, state, asked) {
            known.wanted.push(moment);
        }
        let stamp = self.stamp(node);
        self.change(node, Change::Relabel(id.clone(), state, stamp));
        true
    }

    /// Destroys a version at a node; false if it is not there.
    pub(crate) fn destroy(&mut self, node: usize, id: &KeyId) -> bool {
        if self.replica(node).find(id).is_none() {
            return false;
        }
        self.change(node, Change::Destroy(id.clone()));
        true
    }

    fn stamp(&self, node: usize) -> (Duration, usize) {
        (self.start.elapsed(), node)
    }

    fn change(&mut self, node: usize, change: Change) {
        let from = self.place(node);
        if self.topology == Topology::Late {
            let others = (0..self.replicas.len()).filter(|to| *to != from);
            self.outbox.extend(others.map(|to| (from, to, change.clone())));
        }
        self.apply(from, change);
    }

    /// Applies a change that reaches a replica.
    pub(crate) fn apply(&mut self, to: usize, change: Change) {
        let replica = &mut self.replicas[to];
        match change {
            Change::Add(mut held) => {
                let id = held.version.id.clone();
                if replica.find(&id).is_none() && !replica.destroyed.contains(id.as_bytes()) {
                    held.since = held.version.state.decrypts().then(Instant::now);
                    held.fresh = true;
                    held.changed = Instant::now();
                    replica.held.push(held);
                }
            }
            Change::Relabel(id, state, stamp) => {
                let held = replica.held.iter_mut().find(|held| held.version.id == id);
                if let Some(held) = held.filter(|held| held.stamp <= stamp) {
                    held.set(state, stamp);
                }
            }
            Change::Destroy(id) => {
                replica.held.retain(|held| held.version.id != id);
                replica.destroyed.insert(id.as_bytes().to_vec());
            }
        }
    }

    /// Keeps a copy of a node's replica.
    pub(crate) fn back_up(&mut self, node: usize) {
        let held = self.replica(node).held.clone();
        self.backups.push(held);
    }

    /// Restores a node's replica from a backup.
    pub(crate) fn restore(&mut self, node: usize, backup: &[Held]) {
        let place = self.place(node);
        let replica = &mut self.replicas[place];
        let old = std::mem::take(&mut replica.held);
        for held in backup {
            let mut held = held.clone();
            held.fresh = false;
            held.changed = Instant::now();
            held.since = held.version.state.decrypts().then(Instant::now);
            let before = old.iter().find(|old| old.version.id == held.version.id);
            if let Some(before) = before.filter(|before| before.since.is_some() && held.since.is_some()) {
                (held.since, held.fresh) = (before.since, before.fresh);
                if before.version.state == held.version.state {
                    held.changed = before.changed;
                }
            }
            replica.held.push(held);
        }
    }

    /// Before the first daemon starts, every node gets the versions of the first one.
    pub(crate) fn spread(&mut self) {
        let first = self.replicas[0].clone();
        for replica in &mut self.replicas {
            *replica = first.clone();
        }
        self.outbox.clear();
    }

    /// A version that reaches a replica with others is new there.
    pub(crate) fn arrived(&mut self, node: usize, id: &KeyId) {
        let place = self.place(node);
        let held = self.replicas[place].held.iter_mut().find(|held| held.version.id == *id);
        if let Some(held) = held {
            held.fresh = true;
        }
    }

    /// Every version that any backup or replica holds, in its latest state.
    pub(crate) fn everything(&self) -> Vec<Held> {
        let mut all: Vec<Held> = Vec::new();
        let everywhere = self.backups.iter().flatten();
        for held in everywhere.chain(self.replicas.iter().flat_map(|replica| &replica.held)) {
            match all.iter_mut().find(|known| known.version.id == held.version.id) {
                Some(known) if known.stamp < held.stamp => *known = held.clone(),
                Some(_) => {}
                None => all.push(held.clone()),
            }
        }
        all
    }
}

/// The stores, for reading or a change.
pub(crate) fn lock(stores: &SharedStores) -> MutexGuard<'_, Stores> {
    stores.lock().unwrap()
}

impl fmt::Display for Mood {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Good => "is well",
            Self::Away => "is away",
            Self::Hangs => "hangs",
            Self::NoWraps => "permits no wraps",
            Self::NoUse => "permits no use of its keys",
            Self::Lies => "unwraps to other keys",
        })
    }
}
