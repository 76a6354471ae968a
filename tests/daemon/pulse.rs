//! How long a process that is ready waits for a processor: the reference for what is promised in seconds.

use std::sync::LazyLock;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

const BEAT: Duration = Duration::from_millis(5);

/// A thread that sleeps, and how much later than due it has woken so far.
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

/// Measures a span of time without the time during which a process that was ready had no processor.
#[derive(Debug)]
pub(crate) struct Stopwatch {
    begin: Instant,
    late: Duration,
}

impl Stopwatch {
    pub(crate) fn start() -> Self {
        let late = late();
        let begin = Instant::now();
        Self { begin, late }
    }

    /// What a promise is judged by: it is about a machine that is not overloaded.
    pub(crate) fn took(&self) -> Duration {
        let took = self.begin.elapsed();
        took.saturating_sub(late().saturating_sub(self.late))
    }
}

/// Also of the beat that is due now.
fn late() -> Duration {
    let pulse = PULSE.lock().unwrap();
    pulse.late + pulse.due.elapsed()
}
