//! The state that all threads of the worker share.

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

/// The state that all threads of the worker share.
pub(super) struct Service {
    pub(super) assignment: Assignment,
    pub(super) outlet: Outlet,
    pub(super) queue: Queue,
    /// The work of a thread of its own.
    pub(super) pending: Pending,
    pub(super) records: Option<PinRecord>,
    pub(super) proof_record: Option<ProofRecord>,
    /// Calls hold it for reading; a change waits for the last of them, because `C_Finalize` during a call crashes or
    /// hangs the process.
    pub(super) connection: RwLock<Option<Connection>>,
    /// Counts connections: if several threads notice the failure of one, only the first replaces it.
    pub(super) generation: Mutex<u64>,
    /// Keeps the vendor's code in memory when the module is finalised.
    pub(super) library: OnceLock<Pkcs11>,
    /// The wrap method of each version, from its trial.
    pub(super) methods: Mutex<HashMap<KeyId, Settled>>,
    pub(super) canaries: Canaries,
    /// The mechanisms of each version's record, as far as this process has read it.
    pub(super) recorded: Mutex<HashMap<KeyId, HashSet<Mechanism>>>,
    /// When this process has last begun a proof that no call needs ([`Clock::boottime`]).
    pub(super) tried: Mutex<HashMap<(KeyId, Mechanism), Duration>>,
    /// Versions whose objects were found to be another key than before, and when.
    pub(super) other_keys: Mutex<HashMap<KeyId, Duration>>,
    /// Messages that are logged only once.
    pub(super) told: Mutex<HashSet<String>>,
    pub(super) sightings: Mutex<AbsenceProof>,
    /// The last time that an unwrap in doubt opened at its repetition.
    pub(super) opened_again: Mutex<Option<Duration>>,
    /// The last time that any unwrap succeeded.
    pub(super) opened: Mutex<Option<Duration>>,
    /// The last time that any wrap or unwrap succeeded.
    pub(super) worked: Mutex<Option<Duration>>,
    pub(super) clock: Clock,
}

/// The wrap method of a version.
#[derive(Clone, Copy, Debug)]
pub(super) struct Settled {
    pub(super) method: WrapMethod,
    pub(super) again: Option<AnotherTrial>,
}

/// A trial that may find a better method.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnotherTrial {
    /// When it is due ([`Clock::boottime`]).
    pub(super) at: Duration,
    /// The delay since the previous trial.
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

    /// An object was found.
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
