//! What a daemon takes of the machine.

use std::time::Duration;
use std::time::Instant;

use support::daemon::Daemon;
use support::daemon::HANG;

/// What may remain of the memory after an abuse. The allocator keeps pages in which something is still in use, to give the
/// rest out again; so what remains follows the most that callers could have at once (`src/listener/limits.rs`), and does not
/// grow with the number of abuses, for which there is a test of its own. 32 MiB was seen.
pub(crate) const ALLOWANCE_KIB: u64 = 40 << 10;

/// No abuse may make the daemon take so much, not even for a moment.
pub(crate) const MOST_KIB: u64 = 80 << 10;

/// Anonymous memory in KiB, descriptors, threads, and seconds of processor time so far.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Footprint {
    pub(crate) memory: u64,
    pub(crate) descriptors: usize,
    pub(crate) threads: u64,
    pub(crate) processor: f64,
}

impl Footprint {
    pub(crate) fn of(daemon: &Daemon) -> Self {
        let pid = daemon.child.id();
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap();
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let ticks: u64 = fields
            .split(' ')
            .skip(11)
            .take(2)
            .map(|field| field.parse::<u64>().unwrap())
            .sum();
        let a_second = rustix::param::clock_ticks_per_second();
        Self {
            memory: memory(pid),
            descriptors: descriptors(pid),
            threads: status(pid, "Threads:"),
            processor: Duration::from_millis(ticks * 1000 / a_second).as_secs_f64(),
        }
    }

    /// Whether no more is taken than before.
    fn is_back(&self, before: &Self) -> bool {
        self.memory <= before.memory + ALLOWANCE_KIB
            && self.descriptors <= before.descriptors
            && self.threads <= before.threads
    }

    /// Waits until it is what it was, and returns what it is then, or what it has stayed at.
    pub(crate) fn back(daemon: &Daemon, before: &Self) -> Result<Self, Self> {
        let begin = Instant::now();
        loop {
            let now = Self::of(daemon);
            if now.is_back(before) {
                return Ok(now);
            }
            if begin.elapsed() > HANG {
                return Err(now);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// The daemon cannot be traced, so that its own uid must not look.
fn descriptors(pid: u32) -> usize {
    let listed = std::fs::read_dir(format!("/proc/{pid}/fd"));
    assert!(
        listed.is_ok(),
        "the daemon's descriptors are shown to root only: run these tests as root"
    );
    listed.unwrap().count()
}

/// Anonymous memory of a process in KiB.
pub(crate) fn memory(pid: u32) -> u64 {
    status(pid, "RssAnon:")
}

fn status(pid: u32, name: &str) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with(name)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
