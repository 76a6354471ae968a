//! The delay before the next worker starts after a failure.

use std::time::Duration;

use tokio::time::Instant;

use crate::backoff::Backoff;
use crate::secret::random_bytes;

/// The first wait after a failure.
const FIRST: Duration = Duration::from_millis(100);
/// The longest wait while no call waits.
const LONGEST: Duration = Duration::from_secs(15);
/// The longest wait while a call does: a token that recovers is used within a second.
const HURRIED: Duration = Duration::from_millis(500);

/// The delays between attempts.
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
        // Random each time, so that nodes do not return to their token at the same moment.
        let draw = random_bytes::<1>().map_or(u8::MAX, |[byte]| byte);
        self.hurried = self.due.min(now + HURRIED.mul_f64(0.5 + f64::from(draw) / 510.0));
    }

    /// When the next attempt is due, depending on whether a call waits for it.
    pub(super) fn due(&self, waited_for: bool) -> Instant {
        if waited_for { self.hurried } else { self.due }
    }

    /// The token works: the delays begin with the shortest again.
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
