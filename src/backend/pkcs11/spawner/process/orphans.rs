//! Processes that a vendor's module has started and that have left their worker's process group, as daemons do. They
//! become children of the spawner instead of process 1 when their parent ends.

use std::io;

use rustix::process::Pid;
use rustix::process::Signal;
use rustix::process::WaitOptions;

use crate::backend::pkcs11::spawner::process::child::Worker;

/// Makes this process the parent of all its descendants whose own parent ends.
pub(super) fn adopt() -> io::Result<()> {
    Ok(rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// Reaps those that have ended. If no worker is left, ends the others too: nothing can use them.
pub(super) fn reap(workers: &[Worker]) {
    if workers.is_empty() {
        return end(workers);
    }
    for orphan in orphans(workers) {
        rustix::process::waitpid(Some(orphan), WaitOptions::NOHANG).ok();
    }
}

/// Ends and reaps all of them. Their own children become orphans in turn.
pub(super) fn end(workers: &[Worker]) {
    /// Each round ends at least one generation.
    const MOST_ROUNDS: usize = 100;
    for _ in 0..MOST_ROUNDS {
        let orphans = orphans(workers);
        if orphans.is_empty() {
            return;
        }
        for orphan in orphans {
            rustix::process::kill_process(orphan, Signal::KILL).ok();
            // Does not wait for one that hangs in the kernel.
            rustix::process::waitpid(Some(orphan), WaitOptions::NOHANG).ok();
        }
        std::thread::yield_now();
    }
}

/// The children of this process, which has one thread, that are no workers. None if the kernel does not list children.
fn orphans(workers: &[Worker]) -> Vec<Pid> {
    let children = std::fs::read_to_string("/proc/thread-self/children").unwrap_or_default();
    let pids = children
        .split_whitespace()
        .filter_map(|pid| Pid::from_raw(pid.parse().ok()?));
    let is_worker = |pid: &Pid| workers.iter().any(|worker| Pid::from_child(&worker.process) == *pid);
    pids.filter(|pid| !is_worker(pid)).collect()
}
