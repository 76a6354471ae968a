//! The calls that wait for a session, and those that wait for a canary.

use std::collections::VecDeque;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::backend::pkcs11::protocol::call::Call;
use crate::root_key::id::KeyId;

/// A storm of bad ciphertexts costs one canary in so long.
pub(super) const CANARY_GAP: Duration = Duration::from_secs(1);

/// A call with its number.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) number: u64,
    pub(super) call: Call,
}

/// What a session does next.
#[derive(Debug)]
pub(super) enum Work {
    /// A call.
    Call(Job),
    /// A canary under a version, on behalf of unwraps that failed as bad ciphertexts do.
    Canary(KeyId, Vec<Job>),
    /// One of those unwraps once more: the canary has opened since.
    Again(Job),
}

#[derive(Debug, Default)]
pub(super) struct Queue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    calls: VecDeque<Job>,
    doubtful: Vec<(KeyId, Job)>,
    again: VecDeque<Job>,
    /// Whether the last thing done was one of `again`: calls and those take turns, so that neither waits for long.
    again_was_last: bool,
    last_canary: Option<Instant>,
    closed: bool,
}

impl Queue {
    /// A call came in.
    pub(super) fn push(&self, job: Job) {
        self.lock().calls.push_back(job);
        self.changed.notify_one();
    }

    /// An unwrap failed as one of a bad ciphertext does: it waits for a canary.
    pub(super) fn doubt(&self, id: KeyId, job: Job) {
        self.lock().doubtful.push((id, job));
        self.changed.notify_one();
    }

    /// The canary of these has opened.
    pub(super) fn again(&self, jobs: Vec<Job>) {
        self.lock().again.extend(jobs);
        self.changed.notify_all();
    }

    /// Nothing comes any more: the daemon is gone.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The next thing to do; `None` when there will be none. Canaries go first: callers wait for them longest.
    pub(super) fn next(&self) -> Option<Work> {
        let mut inner = self.lock();
        loop {
            if inner.closed {
                return None;
            }
            let wait = inner.until_canary(Instant::now());
            if wait.is_zero()
                && let Some((id, _)) = inner.doubtful.first()
            {
                let id = id.clone();
                inner.last_canary = Some(Instant::now());
                let (of_id, others) = std::mem::take(&mut inner.doubtful)
                    .into_iter()
                    .partition(|(other, _)| *other == id);
                inner.doubtful = others;
                let jobs: Vec<(KeyId, Job)> = of_id;
                return Some(Work::Canary(id, jobs.into_iter().map(|(_, job)| job).collect()));
            }
            if let Some(work) = inner.in_turn() {
                return Some(work);
            }
            inner = if inner.doubtful.is_empty() {
                self.changed.wait(inner).unwrap_or_else(PoisonError::into_inner)
            } else {
                let waited = self.changed.wait_timeout(inner, wait);
                waited.unwrap_or_else(PoisonError::into_inner).0
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    fn in_turn(&mut self) -> Option<Work> {
        let again = !self.again.is_empty() && (self.calls.is_empty() || !self.again_was_last);
        self.again_was_last = again;
        if again {
            self.again.pop_front().map(Work::Again)
        } else {
            self.calls.pop_front().map(Work::Call)
        }
    }

    fn until_canary(&self, now: Instant) -> Duration {
        let since = self.last_canary.map(|last| now.saturating_duration_since(last));
        since.map_or(Duration::ZERO, |since| CANARY_GAP.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(number: u64) -> Job {
        Job {
            number,
            call: Call::Open,
        }
    }

    fn id(byte: u8) -> KeyId {
        KeyId::try_from([byte; 8].as_slice()).unwrap()
    }

    #[test]
    fn one_canary_serves_all_doubtful_unwraps_of_its_version() {
        let queue = Queue::default();
        for number in 1..=3 {
            queue.doubt(id(1), job(number));
        }
        queue.push(job(4));
        let Some(Work::Canary(of, jobs)) = queue.next() else {
            panic!("no canary");
        };
        assert_eq!(of, id(1));
        assert_eq!(jobs.iter().map(|job| job.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(matches!(queue.next(), Some(Work::Call(Job { number: 4, .. }))));
    }

    #[test]
    fn while_a_canary_waits_for_its_second_calls_go_on() {
        let queue = Queue::default();
        queue.doubt(id(1), job(1));
        assert!(matches!(queue.next(), Some(Work::Canary(..))));
        queue.doubt(id(2), job(2));
        queue.push(job(3));
        assert!(matches!(queue.next(), Some(Work::Call(Job { number: 3, .. }))));
        assert!(matches!(queue.next(), Some(Work::Canary(of, _)) if of == id(2)));
    }

    #[test]
    fn unwraps_that_are_tried_again_and_calls_take_turns() {
        let queue = Queue::default();
        queue.again((1..=3).map(job).collect());
        for number in 4..=5 {
            queue.push(job(number));
        }
        let order: Vec<_> = (0..5)
            .map(|_| match queue.next() {
                Some(Work::Call(job) | Work::Again(job)) => job.number,
                other => panic!("{other:?}"),
            })
            .collect();
        assert_eq!(order, [1, 4, 2, 5, 3]);
    }

    #[test]
    fn a_closed_queue_gives_nothing_more() {
        let queue = Queue::default();
        queue.push(job(1));
        queue.close();
        assert!(queue.next().is_none());
    }
}
