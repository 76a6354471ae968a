//! What all threads of the worker share.

use std::collections::HashMap;
use std::collections::HashSet;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::time::Duration;

use cryptoki::context::Pkcs11;

use crate::backend::pkcs11::worker::absence::AbsenceProof;
use crate::backend::pkcs11::worker::canary::Canaries;
use crate::backend::pkcs11::worker::channel::Outlet;
use crate::backend::pkcs11::worker::proof::pending::Pending;
use crate::backend::pkcs11::worker::queue::Queue;
use crate::clock::Clock;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::token::assignment::Assignment;
use crate::token::pin_history::PinRecord;
use crate::token::proof_record::ProofRecord;
use crate::token::session::Connection;
use crate::token::wrap::WrapMethod;

/// What all threads of this process share.
pub(super) struct Service {
    pub(super) assignment: Assignment,
    pub(super) outlet: Outlet,
    pub(super) queue: Queue,
    /// For a thread of their own.
    pub(super) pending: Pending,
    pub(super) records: Option<PinRecord>,
    pub(super) proof_record: Option<ProofRecord>,
    /// Calls hold it for reading; whoever changes it waits for the last of them: `C_Finalize` around a call in flight
    /// kills or hangs the process.
    pub(super) connection: RwLock<Option<Connection>>,
    /// Counts connections, so that of several threads that saw one fail only the first replaces it.
    pub(super) generation: Mutex<u64>,
    /// The vendor's code stays where it is when the module is finalised.
    pub(super) library: OnceLock<Pkcs11>,
    /// How to wrap under a version, as its trial showed.
    pub(super) methods: Mutex<HashMap<KeyId, Settled>>,
    pub(super) canaries: Canaries,
    /// By which mechanisms the versions are recorded, as far as this process has looked.
    pub(super) recorded: Mutex<HashMap<KeyId, HashSet<Mechanism>>>,
    /// When this process has last begun a proof that no call needs ([`Clock::boottime`]).
    pub(super) tried: Mutex<HashMap<(KeyId, Mechanism), Duration>>,
    /// Versions whose objects were found to be another key than before, and when.
    pub(super) other_keys: Mutex<HashMap<KeyId, Duration>>,
    /// What was told once and is not told again.
    pub(super) told: Mutex<HashSet<String>>,
    pub(super) sightings: Mutex<AbsenceProof>,
    /// When an unwrap has last opened that had failed as one of a bad ciphertext does.
    pub(super) opened_again: Mutex<Option<Duration>>,
    /// When any unwrap has.
    pub(super) opened: Mutex<Option<Duration>>,
    /// When any wrap or unwrap has last succeeded.
    pub(super) worked: Mutex<Option<Duration>>,
    pub(super) clock: Clock,
}

/// How to wrap under a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) method: WrapMethod,
    pub(super) again: Option<AnotherTrial>,
}

/// A trial that may choose better.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnotherTrial {
    /// When it is due ([`Clock::boottime`]).
    pub(super) at: Duration,
    /// How long after the one before.
    pub(super) pause: Duration,
}

impl Service {
    pub(super) fn new(assignment: Assignment, outlet: Outlet, clock: Clock) -> Self {
        let records = assignment.state.as_deref().map(PinRecord::of);
        let proof_record = assignment.state.as_deref().map(ProofRecord::of);
        Self {
            assignment,
            outlet,
            queue: Queue::default(),
            pending: Pending::default(),
            records,
            proof_record,
            connection: RwLock::default(),
            generation: Mutex::default(),
            library: OnceLock::new(),
            methods: Mutex::default(),
            canaries: Canaries::default(),
            recorded: Mutex::default(),
            tried: Mutex::default(),
            other_keys: Mutex::default(),
            told: Mutex::default(),
            sightings: Mutex::default(),
            opened_again: Mutex::default(),
            opened: Mutex::default(),
            worked: Mutex::default(),
            clock,
        }
    }

    /// Something was found.
    pub(super) fn saw(&self, what: Option<KeyId>) {
        lock(&self.sightings).saw(what);
    }

    pub(super) fn is_proven_missing(&self, what: Option<&KeyId>) -> bool {
        lock(&self.sightings).is_gone(what)
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
