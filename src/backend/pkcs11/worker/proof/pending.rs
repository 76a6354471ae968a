//! The proofs that are made after their call has been answered.

use std::collections::VecDeque;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::PoisonError;

use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::token::key_object::KeyObject;
use crate::token::proof_record::Proof;

/// A proof to make and to record.
pub(super) struct Wanted {
    pub(super) id: KeyId,
    pub(super) key: KeyObject,
    pub(super) source: Source,
    pub(super) entry: Entry,
}

/// Which proof of its version it is.
#[derive(Clone, Copy)]
pub(super) enum Entry {
    /// The first, which identifies the version's key.
    First,
    /// One by another mechanism, of a confirmed key.
    Beside,
}

/// The source of a proof.
pub(super) enum Source {
    /// The token makes it by this mechanism.
    Token(Mechanism),
    /// It exists, and is only to be recorded.
    Opened(Proof),
}

impl Wanted {
    fn is_like(&self, other: &Self) -> bool {
        let mechanism = |of: &Self| match &of.source {
            Source::Token(mechanism) => *mechanism,
            Source::Opened(proof) => proof.mechanism(),
        };
        self.id == other.id && self.key == other.key && mechanism(self) == mechanism(other)
    }
}

/// They wait for the one thread that makes them.
#[derive(Default)]
pub(super) struct Pending {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Default)]
struct Inner {
    wanted: VecDeque<Wanted>,
    /// Whether one is in progress.
    busy: bool,
    closed: bool,
}

impl Pending {
    /// Adds one, unless there is one like it, so that they do not accumulate while a disk hangs.
    pub(super) fn push(&self, wanted: Wanted) {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        if !inner.wanted.iter().any(|other| other.is_like(&wanted)) {
            match wanted.entry {
                // Until it is made, another key under the id would not be noticed.
                Entry::First => inner.wanted.push_front(wanted),
                Entry::Beside => inner.wanted.push_back(wanted),
            }
            self.changed.notify_all();
        }
    }

    /// The next one; `None` after the close.
    pub(super) fn next(&self) -> Option<Wanted> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.busy = false;
        self.changed.notify_all();
        loop {
            if inner.closed {
                return None;
            }
            if let Some(wanted) = inner.wanted.pop_front() {
                inner.busy = true;
                return Some(wanted);
            }
            inner = self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Whether no more proofs are made.
    pub(super) fn is_closed(&self) -> bool {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).closed
    }

    /// Waits until all are made.
    #[cfg(test)]
    pub(super) fn until_made(&self) {
        let mut inner = self.inner.lock().unwrap();
        while inner.busy || !inner.wanted.is_empty() {
            inner = self.changed.wait(inner).unwrap();
        }
    }

    /// No more proofs are made: the daemon is gone.
    pub(super) fn close(&self) {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner).closed = true;
        self.changed.notify_all();
    }
}
