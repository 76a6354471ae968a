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
    last_canary: Option<Instant>,
    closed: bool,
}

impl Queue {
    /// A call came in.
    pub(super) fn push(&self, job: Job) {
        self.lock().calls.push_back(job);
        self.changed.notify_one();
    }

    /// An unwrap failed as one of a bad ciphertext does. Says how long it waits for its canary.
    pub(super) fn doubt(&self, id: KeyId, job: Job) -> Duration {
        let mut inner = self.lock();
        let wait = inner.until_canary(Instant::now());
        inner.doubtful.push((id, job));
        drop(inner);
        self.changed.notify_one();
        wait
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
            if let Some(job) = inner.calls.pop_front() {
                return Some(Work::Call(job));
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
            assert_eq!(queue.doubt(id(1), job(number)), Duration::ZERO);
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
        assert!(queue.doubt(id(2), job(2)) > Duration::ZERO);
        queue.push(job(3));
        assert!(matches!(queue.next(), Some(Work::Call(Job { number: 3, .. }))));
        assert!(matches!(queue.next(), Some(Work::Canary(of, _)) if of == id(2)));
    }

    #[test]
    fn a_closed_queue_gives_nothing_more() {
        let queue = Queue::default();
        queue.push(job(1));
        queue.close();
        assert!(queue.next().is_none());
    }
}
