//! A call on its way through the worker, and its state.

use std::time::Duration;
use std::time::Instant;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::worker::recovery::Recovery;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;

/// The longest time in doubt for an unwrap: a token that cannot decide within this time is overloaded.
pub(super) const LONGEST_DOUBT: Duration = Duration::from_secs(50);

/// A call with its number.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) call: Call,
    /// Since when it is in doubt.
    pub(super) doubted: Option<Instant>,
    /// Only a canary of another version could be opened for it.
    pub(super) elsewhere: bool,
    /// The state of a discovery that was put back.
    pub(super) discovery: Option<Box<SlicedDiscovery>>,
}

/// The state of a discovery between time slices.
#[derive(Debug)]
pub(super) struct SlicedDiscovery {
    pub(super) since: Instant,
    /// The steps that were tried after its failures.
    pub(super) recovery: Recovery,
    /// Whether its duration was reported to the daemon.
    pub(super) told: bool,
}

impl SlicedDiscovery {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            recovery: Recovery::default(),
            told: false,
        }
    }
}

impl Job {
    pub(super) fn new(number: u64, call: Call) -> Self {
        Self {
            number,
            call,
            doubted: None,
            elsewhere: false,
            discovery: None,
        }
    }

    /// Whether it has been in doubt for too long.
    pub(super) fn is_overdue(&self) -> bool {
        self.doubted.is_some_and(|since| since.elapsed() > LONGEST_DOUBT)
    }
}

/// The reason for doubt: a wrapped key of this version and mechanism does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) id: KeyId,
    pub(super) mechanism: Mechanism,
}
