//! A call on its way through the worker, and what has become of it so far.

use std::time::Duration;
use std::time::Instant;

use crate::backend::pkcs11::protocol::call::Call;
use crate::backend::pkcs11::worker::recovery::Ladder;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;

/// So long an unwrap may be in doubt: a token that can't tell within that has too much to do.
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
    /// Of a discovery that was put back.
    pub(super) stretches: Option<Box<Stretches>>,
}

/// What a discovery has behind it.
#[derive(Debug)]
pub(super) struct Stretches {
    pub(super) since: Instant,
    /// What was tried against its failures.
    pub(super) ladder: Ladder,
    /// Whether the daemon was told that it takes long.
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

/// Why unwraps are in doubt: something under this version, wrapped so, does not open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Doubt {
    pub(super) id: KeyId,
    pub(super) mechanism: Mechanism,
}
