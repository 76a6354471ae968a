//! Waits between attempts that grow and are never equal on two nodes.

use std::time::Duration;

use crate::secret::random_bytes;

/// Doubles from `first` to `longest`; each wait is drawn from the upper half of its step.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    /// Starts with `first` and never waits longer than `longest`.
    pub fn new(first: Duration, longest: Duration) -> Self {
        Self {
            first,
            longest,
            next: first,
        }
    }

    /// How long to wait before the next attempt.
    pub fn wait(&mut self) -> Duration {
        let step = self.next;
        self.next = step.saturating_mul(2).min(self.longest);
        // Without randomness there is no jitter, and the wait is still right.
        let draw = random_bytes::<1>().map_or(u8::MAX, |[byte]| byte);
        step.mul_f64(0.5 + f64::from(draw) / 510.0)
    }

    /// An attempt succeeded: the next failure waits briefly again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
