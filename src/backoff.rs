//! Exponential backoff with jitter.

use std::time::Duration;

use crate::clock::Clock;
use crate::secret::random_bytes;

/// Steps double from `first` to `longest`; each wait is drawn from the upper half of its step.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    clock: Option<Clock>,
}

impl Backoff {
    /// Starts with `first` and never waits longer than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
            clock: None,
        }
    }

    /// Takes the jitter from a test's clock, if `clock` is one.
    #[must_use]
    pub fn drawn_by(mut self, clock: &Clock) -> Self {
        self.clock = Some(clock.clone());
        self
    }

    /// How long to wait before the next attempt.
    pub fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.longest);
        let turned = self.clock.as_ref().and_then(Clock::draw);
        // Without randomness there is no jitter, but the wait is still valid.
        let draw = turned.unwrap_or_else(|| random_bytes::<1>().map_or(u8::MAX, |[byte]| byte));
        step.mul_f64(0.5 + f64::from(draw) / 510.0)
    }

    /// Starts again with the first step, after an attempt that succeeded.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Timestamp;

    #[test]
    fn waits_double_up_to_the_longest_and_stay_in_the_upper_half() {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(15));
        let mut step = Duration::from_millis(100);
        for _ in 0..12 {
            let wait = backoff.wait();
            assert!(wait >= step / 2 && wait <= step, "{wait:?} of {step:?}");
            step = (step * 2).min(Duration::from_secs(15));
        }
        backoff.reset();
        assert!(backoff.wait() <= Duration::from_millis(100));
    }

    #[tokio::test(start_paused = true)]
    async fn a_turned_clock_draws_the_same_waits_in_every_run() {
        let start = Timestamp::from_unix(1_800_000_000);
        let mut one = Backoff::new(Duration::from_secs(1), Duration::from_secs(9)).drawn_by(&Clock::turned(start));
        let mut other = Backoff::new(Duration::from_secs(1), Duration::from_secs(9)).drawn_by(&Clock::turned(start));
        assert!((0..9).all(|_| one.wait() == other.wait()));
    }
}
