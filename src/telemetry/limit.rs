//! A limit on log lines that callers can provoke.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// Passes a limited number of lines each second and counts the rest.
#[derive(Debug)]
pub struct LineLimit {
    per_second: u32,
    window: Mutex<Window>,
}

#[derive(Debug)]
struct Window {
    start: Instant,
    passed: u32,
    suppressed: u64,
}

impl LineLimit {
    /// At most `per_second` lines a second.
    pub fn new(per_second: u32) -> Self {
        Self {
            per_second,
            window: Mutex::new(Window {
                start: Instant::now(),
                passed: 0,
                suppressed: 0,
            }),
        }
    }

    /// `Some(n)` if a line may be written now, with the number of lines that were suppressed since the last one.
    pub fn pass(&self) -> Option<u64> {
        let mut window = self.window.lock().unwrap_or_else(PoisonError::into_inner);
        if window.start.elapsed() >= Duration::from_secs(1) {
            window.start = Instant::now();
            window.passed = 0;
        }
        if window.passed >= self.per_second {
            window.suppressed += 1;
            return None;
        }
        window.passed += 1;
        Some(std::mem::take(&mut window.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_leaves_few_lines_and_their_count() {
        let limit = LineLimit::new(10);
        let passed = (0..1000).filter(|_| limit.pass().is_some()).count();
        // A slow machine may see a second window begin.
        assert!((10..1000).contains(&passed), "{passed}");
        limit.window.lock().unwrap().start -= Duration::from_secs(2);
        assert!(limit.pass().is_some_and(|suppressed| suppressed > 0));
    }
}
