//! Measures how long a ready process waits for a processor: the reference for promises in seconds.

use std::sync::LazyLock;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

const BEAT: Duration = Duration::from_millis(5);

/// A thread that sleeps in a loop, and the sum of the delays of its wake-ups.
#[derive(Debug)]
struct Pulse {
    due: Instant,
    late: Duration,
}

static PULSE: LazyLock<Mutex<Pulse>> = LazyLock::new(|| {
    std::thread::spawn(beat);
    Mutex::new(Pulse {
        due: Instant::now() + BEAT,
        late: Duration::ZERO,
    })
});

fn beat() {
    loop {
        std::thread::sleep(BEAT);
        let mut pulse = PULSE.lock().unwrap();
        let late = pulse.due.elapsed();
        pulse.late += late;
        pulse.due = Instant::now() + BEAT;
    }
}

/// Measures a time span, minus the time during which a ready process had no processor.
#[derive(Debug)]
pub struct Stopwatch {
    begin: Instant,
    late: Duration,
}

impl Stopwatch {
    pub fn start() -> Self {
        let late = late();
        let begin = Instant::now();
        Self { begin, late }
    }

    /// The time by which a promise is judged: promises are about a machine that is not overloaded.
    pub fn took(&self) -> Duration {
        let took = self.begin.elapsed();
        took.saturating_sub(late().saturating_sub(self.late))
    }
}

/// The delay, including that of the wake-up that is due now.
fn late() -> Duration {
    let pulse = PULSE.lock().unwrap();
    pulse.late + pulse.due.elapsed()
}
