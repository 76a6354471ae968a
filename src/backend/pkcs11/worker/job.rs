//! A call on its way through the worker, and its state.

use std::time::Duration;
use std::time::Instant;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::worker::recovery::Ladder;
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
    pub(super) stretches: Option<Box<Stretches>>,
}

/// The state of a discovery between stretches.
#[derive(Debug)]
pub(super) struct Stretches {
    pub(super) since: Instant,
    /// The rungs that were tried after its failures.
    pub(super) ladder: Ladder,
    /// Whether its duration was reported to the daemon.
    pub(super) told: bool,
}

impl Stretches {
    pub(super) fn new() -> Self {
        Self {
            since: Instant::now(),
            ladder: Ladder::default(),
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
            stretches: None,
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
