//! When the next worker is started after one failed.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::secret::random_bytes;

/// The first wait after a failure.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait while nobody asks.
const LONGEST: Duration = Duration::from_secs(15);
/// The longest wait while somebody does: a token that is back is used within the second.
const HURRIED: Duration = Duration::from_millis(500);

/// The waits between attempts.
#[derive(Debug)]
pub(super) struct Attempts {
    backoff: Backoff,
    due: Instant,
    hurried: Instant,
}

impl Attempts {
    /// The first attempt is due at once.
    pub(super) fn new(now: Instant) -> Self {
        Self {
            backoff: Backoff::new(FIRST, LONGEST),
            due: now,
            hurried: now,
        }
    }

    /// A worker failed, or ended.
    pub(super) fn failed(&mut self, now: Instant) {
        self.due = now + self.backoff.wait();
        // Drawn anew each time: no two nodes return to their token as one.
        let draw = random_bytes::<1>().map_or(u8::MAX, |[byte]| byte);
        self.hurried = self.due.min(now + HURRIED.mul_f64(0.5 + f64::from(draw) / 510.0));
    }

    /// When the next attempt is to be made, if somebody waits for it or nobody does.
    pub(super) fn due(&self, waited_for: bool) -> Instant {
        if waited_for { self.hurried } else { self.due }
    }

    /// The token works: the next failure waits briefly again.
    pub(super) fn succeeded(&mut self) {
        self.backoff.reset();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_never_left_waiting_for_long() {
        let now = Instant::now();
        let mut attempts = Attempts::new(now);
        assert_eq!(attempts.due(false), now, "the first one is made at once");
        for _ in 0..12 {
            attempts.failed(now);
            let hurried = attempts.due(true).duration_since(now);
            assert!(hurried <= HURRIED && attempts.due(true) <= attempts.due(false));
        }
        assert!(attempts.due(false).duration_since(now) >= LONGEST / 2);
        assert!(attempts.due(true).duration_since(now) >= HURRIED / 2, "no storm");
        attempts.succeeded();
        attempts.failed(now);
        assert!(attempts.due(false).duration_since(now) <= FIRST);
    }
}
