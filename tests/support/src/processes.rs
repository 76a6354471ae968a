//! The processes of a daemon (its spawner and its workers), and the resources that they hold.

use std::path::Path;

use rustix::process::Pid;
use rustix::process::Signal;

use crate::daemon::Daemon;
use crate::daemon::wait_for;

/// The spawner of a daemon.
pub fn spawner(daemon: &Daemon) -> u32 {
    let found = children(daemon.child.id());
    assert_eq!(found.len(), 1, "a daemon has one child: {found:?}");
    found[0]
}

/// The running workers of a daemon.
pub fn workers(daemon: &Daemon) -> Vec<u32> {
    children(spawner(daemon))
}

/// The worker of a daemon, once there is exactly one.
pub fn worker(daemon: &Daemon) -> u32 {
    wait_for("there is one worker", || workers(daemon).len() == 1);
    workers(daemon)[0]
}

/// The children of a process that are no zombies.
pub fn children(parent: u32) -> Vec<u32> {
    let mut found = Vec::new();
    for entry in Path::new("/proc").read_dir().unwrap() {
        let name = entry.unwrap().file_name();
        let Some(process) = name.to_str().and_then(|name| name.parse().ok()) else {
            continue;
        };
        // The process may have ended meanwhile.
        let Some((state, of)) = state_and_parent(process) else {
            continue;
        };
        if of == parent && state != "Z" && state != "X" {
            found.push(process);
        }
    }
    found
}

fn state_and_parent(process: u32) -> Option<(String, u32)> {
    let text = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name before it may contain any character, also brackets.
    let (_, rest) = text.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    Some((words.next()?.to_owned(), words.next()?.parse().ok()?))
}

/// Whether a process is running.
pub fn lives(process: u32) -> bool {
    state_and_parent(process).is_some_and(|(state, _)| state != "Z" && state != "X")
}

/// Sends a signal to a process that a test has started, itself or through a daemon.
pub fn send(process: u32, signal: Signal) {
    let pid = Pid::from_raw(i32::try_from(process).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// The resources that a process holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Holds {
    pub threads: usize,
    /// `None` without permission: the daemon is not dumpable, so only root can read this.
    pub descriptors: Option<usize>,
    /// Resident memory.
    pub kibibytes: u64,
}

/// The resources that a process holds now.
pub fn holds(process: u32) -> Holds {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let number = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.split_whitespace().next().unwrap().parse::<u64>().unwrap()
    };
    let descriptors = Path::new(&format!("/proc/{process}/fd")).read_dir();
    Holds {
        threads: usize::try_from(number("Threads:")).unwrap(),
        descriptors: descriptors.ok().map(Iterator::count),
        kibibytes: number("VmRSS:"),
    }
}
