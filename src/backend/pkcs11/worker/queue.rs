//! The calls that wait for a session, and those that wait for a canary.

use std::collections::VecDeque;
use std::sync::Condvar;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::backend::pkcs11::worker::canary::CANARY_GAP;
use crate::backend::pkcs11::worker::job::Doubt;
use crate::backend::pkcs11::worker::job::Job;

/// The most unwraps in doubt: each costs the token another call.
const MOST_DOUBTS: usize = 256;

/// The next work of a session.
#[derive(Debug)]
pub(super) enum Work {
    /// A call.
    Call(Job),
    /// A canary, for unwraps that failed with an error that bad ciphertexts can cause.
    Canary(Doubt, Vec<Job>),
    /// A repetition of such an unwrap, after the canary has opened.
    Again(Job),
    /// Unwraps that have been in doubt for too long.
    Overdue(Vec<Job>),
}

#[derive(Debug, Default)]
pub(super) struct JobQueue {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    calls: VecDeque<Job>,
    doubtful: Vec<(Doubt, Job)>,
    again: VecDeque<Job>,
    /// Whether the last work was one of `again`: calls and repetitions alternate, so that neither waits for long.
    again_was_last: bool,
    last_canary: Option<Instant>,
    closed: bool,
}

impl JobQueue {
    /// Adds a call. Wakes all threads: one of them may wait for the time of a canary, and if it took the call alone, no
    /// other thread would know of the canary.
    pub(super) fn push(&self, job: Job) {
        self.lock().calls.push_back(job);
        self.changed.notify_all();
    }

    /// An unwrap failed with an error that a bad ciphertext can cause: it waits for a canary.
    ///
    /// # Errors
    /// Too many unwraps wait, or this one has waited for too long.
    pub(super) fn doubt(&self, doubt: Doubt, mut job: Job) -> Result<(), Job> {
        let mut inner = self.lock();
        if job.is_overdue() || inner.doubtful.len() + inner.again.len() >= MOST_DOUBTS {
            return Err(job);
        }
        job.doubted.get_or_insert_with(Instant::now);
        inner.doubtful.push((doubt, job));
        drop(inner);
        self.changed.notify_all();
        Ok(())
    }

    /// The canary of these has opened.
    pub(super) fn again(&self, jobs: Vec<Job>) {
        self.lock().again.extend(jobs);
        self.changed.notify_all();
    }

    /// No more calls arrive: the daemon is gone.
    pub(super) fn close(&self) {
        self.lock().closed = true;
        self.changed.notify_all();
    }

    /// The next work; `None` after the close. Canaries come first, because their callers have waited longest.
    pub(super) fn next(&self) -> Option<Work> {
        let mut inner = self.lock();
        loop {
            if inner.closed {
                return None;
            }
            let overdue = inner.take_overdue();
            if !overdue.is_empty() {
                return Some(Work::Overdue(overdue));
            }
            let wait = inner.until_canary(Instant::now());
            if wait.is_zero()
                && let Some((doubt, _)) = inner.doubtful.first()
            {
                let doubt = doubt.clone();
                inner.last_canary = Some(Instant::now());
                let (alike, others): (Vec<_>, Vec<_>) = std::mem::take(&mut inner.doubtful)
                    .into_iter()
                    .partition(|(other, _)| *other == doubt);
                inner.doubtful = others;
                return Some(Work::Canary(doubt, alike.into_iter().map(|(_, job)| job).collect()));
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

    fn take_overdue(&mut self) -> Vec<Job> {
        let doubtful = self.doubtful.extract_if(.., |(_, job)| job.is_overdue());
        let mut overdue: Vec<_> = doubtful.map(|(_, job)| job).collect();
        let (again, others) = self.again.drain(..).partition(Job::is_overdue);
        self.again = others;
        let again: VecDeque<_> = again;
        overdue.extend(again);
        overdue
    }

    fn until_canary(&self, now: Instant) -> Duration {
        let since = self.last_canary.map(|last| now.saturating_duration_since(last));
        since.map_or(Duration::ZERO, |since| CANARY_GAP.saturating_sub(since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::pkcs11::ipc::call::Call;
    use crate::backend::pkcs11::worker::job::LONGEST_DOUBT;
    use crate::root_key::id::KeyId;
    use crate::root_key::mechanism::Mechanism;

    fn job(number: u64) -> Job {
        Job::new(number, Call::Open)
    }

    fn doubt(byte: u8, mechanism: Mechanism) -> Doubt {
        let id = KeyId::try_from([byte; 8].as_slice()).unwrap();
        Doubt { id, mechanism }
    }

    fn gcm(byte: u8) -> Doubt {
        doubt(byte, Mechanism::AesGcm)
    }

    #[test]
    fn one_canary_serves_all_doubtful_unwraps_of_its_version_and_mechanism() {
        let queue = JobQueue::default();
        for number in 1..=3 {
            queue.doubt(gcm(1), job(number)).unwrap();
        }
        let kwp = doubt(1, Mechanism::AesKwp);
        queue.doubt(kwp, job(5)).unwrap();
        queue.push(job(4));
        let Some(Work::Canary(of, jobs)) = queue.next() else {
            panic!("no canary");
        };
        assert_eq!(of, gcm(1));
        assert_eq!(jobs.iter().map(|job| job.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert!(matches!(queue.next(), Some(Work::Call(Job { number: 4, .. }))));
    }

    #[test]
    fn while_a_canary_waits_for_its_second_calls_go_on() {
        let queue = JobQueue::default();
        queue.doubt(gcm(1), job(1)).unwrap();
        assert!(matches!(queue.next(), Some(Work::Canary(..))));
        queue.doubt(gcm(2), job(2)).unwrap();
        queue.push(job(3));
        assert!(matches!(queue.next(), Some(Work::Call(Job { number: 3, .. }))));
        assert!(matches!(queue.next(), Some(Work::Canary(of, _)) if of == gcm(2)));
    }

    #[test]
    fn no_more_unwraps_are_in_doubt_than_the_token_can_be_asked_about() {
        let queue = JobQueue::default();
        for number in 0..MOST_DOUBTS {
            queue.doubt(gcm(1), job(number as u64)).unwrap();
        }
        assert!(queue.doubt(gcm(1), job(1000)).is_err_and(|job| job.number == 1000));
        let Some(Work::Canary(_, jobs)) = queue.next() else {
            panic!("no canary");
        };
        queue.again(jobs);
        assert!(queue.doubt(gcm(1), job(1000)).is_err(), "those to be tried again count");
        assert!(matches!(queue.next(), Some(Work::Again(_))));
        queue.doubt(gcm(1), job(1000)).unwrap();
    }

    #[test]
    fn no_unwrap_is_in_doubt_for_ever() {
        let mut job = job(1);
        assert!(!job.is_overdue());
        job.doubted = Instant::now().checked_sub(LONGEST_DOUBT + Duration::from_secs(1));
        assert!(job.is_overdue());
        let queue = JobQueue::default();
        let overdue = |queue: &JobQueue| matches!(queue.next(), Some(Work::Overdue(jobs)) if jobs.len() == 1);
        queue.lock().doubtful.push((gcm(1), job));
        assert!(overdue(&queue), "before its canary");
        let mut job = super::tests::job(2);
        job.doubted = Instant::now().checked_sub(LONGEST_DOUBT + Duration::from_secs(1));
        queue.again(vec![job]);
        queue.push(super::tests::job(3));
        assert!(overdue(&queue), "before any call");
    }

    #[test]
    fn unwraps_that_are_tried_again_and_calls_take_turns() {
        let queue = JobQueue::default();
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
        let queue = JobQueue::default();
        queue.push(job(1));
        queue.close();
        assert!(queue.next().is_none());
    }
}
