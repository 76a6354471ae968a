//! Limits on the number of workers and on the rate of their starts, whatever the daemon asks for.

use std::io;
use std::time::Duration;
use std::time::Instant;

use crate::backend::pkcs11::spawner::process::GRACE;
use crate::backend::pkcs11::spawner::process::child::Worker;

/// The most killed workers that may hang in the kernel. Each keeps its memory, and the next one would hang in the same
/// place.
const MOST_UNDEAD: usize = 4;
/// One that serves, and one that replaces it.
const MOST_OF_AN_ASSIGNMENT: usize = 2;
/// The supervisor's shortest interval between attempts while callers wait, see its `Attempts`. In the long run workers
/// are not started more often.
const GAP: Duration = Duration::from_millis(250);
/// The most starts at once after a quiet time: the supervisor replaces a worker that died after 100 ms, and its
/// successor too.
const AT_ONCE: u32 = 8;

/// Whether another worker of this assignment may be started.
///
/// # Errors
/// There are too many workers; the error has the kind.
pub(super) fn may_live(workers: &[Worker], index: u32) -> io::Result<()> {
    undead(workers)?;
    let of_this = workers
        .iter()
        .filter(|worker| worker.index == index && worker.killed.is_none())
        .count();
    if of_this < MOST_OF_AN_ASSIGNMENT {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{of_this} token workers of this root key run already"
    )))
}

/// A process in an uninterruptible system call outlives SIGKILL, because a device or a network file system does not
/// answer.
fn undead(workers: &[Worker]) -> io::Result<()> {
    let is_undead = |worker: &&Worker| worker.killed.is_some_and(|killed| killed.elapsed() > GRACE);
    let undead = workers
        .iter()
        .filter(is_undead)
        .map(|worker| worker.process.id().to_string());
    let undead: Vec<_> = undead.collect();
    if undead.len() < MOST_UNDEAD {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} token workers can't be killed: their device hangs in the kernel; look at the kernel's log and at \
         /proc/PID/stack of {}",
        undead.len(),
        undead.join(", ")
    )))
}

/// The rate of starts of one assignment: a few at once, then one for each [`GAP`].
#[derive(Debug, Default)]
pub(super) struct Pace {
    /// The time when all starts so far are paid for.
    even: Option<Instant>,
}

impl Pace {
    /// Takes a start, if one is available.
    ///
    /// # Errors
    /// There were too many starts.
    pub(super) fn take(&mut self, now: Instant) -> io::Result<()> {
        let even = self.even.map_or(now, |even| even.max(now));
        if even.duration_since(now) > GAP * (AT_ONCE - 1) {
            return Err(io::Error::other("too many token workers were started lately"));
        }
        self.even = Some(even + GAP);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_starts_are_made_at_once_and_then_one_for_each_gap() {
        let begin = Instant::now();
        let mut pace = Pace::default();
        let at_once = (0..100).filter(|_| pace.take(begin).is_ok()).count();
        assert_eq!(at_once, AT_ONCE as usize);
        let mut taken = 0;
        for millisecond in 0..10_000 {
            taken += usize::from(pace.take(begin + Duration::from_millis(millisecond)).is_ok());
        }
        assert_eq!(taken, 39, "one for each 250 ms of 10 s");
        // Unused starts are available again.
        let later = begin + Duration::from_secs(60);
        assert_eq!((0..100).filter(|_| pace.take(later).is_ok()).count(), AT_ONCE as usize);
    }

    #[test]
    fn what_the_supervisor_asks_for_is_never_refused() {
        // The supervisor's shortest waits, repeated: 100 ms, doubled up to 250 ms, and again from 100 ms after a good
        // call.
        let mut now = Instant::now();
        let mut pace = Pace::default();
        for wait in [50, 100, 200].into_iter().chain(std::iter::repeat_n(250, 1000)) {
            pace.take(now).unwrap();
            now += Duration::from_millis(wait);
        }
    }
}
