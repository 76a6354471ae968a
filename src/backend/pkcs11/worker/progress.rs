//! Progress reports to the daemon, which kills a worker whose call makes no progress.

use std::cell::Cell;
use std::time::Duration;
use std::time::Instant;

use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::worker::channel::Outlet;

/// The interval of progress reports from work that cannot be interrupted. A call that hangs sends none, and is noticed.
const HEARTBEAT: Duration = Duration::from_millis(100);
/// The longest wait for the disk that is announced to the daemon.
const LONGEST_USE_OF_DISK: Duration = Duration::from_secs(30);

impl Outlet {
    /// Tells the daemon between two steps of a call that it continues. A step that hangs sends nothing, and is noticed.
    pub(super) fn restart_timeout(&self, job: u64) {
        self.extend_deadline(Paused::Call(job), Duration::ZERO);
    }

    /// The same for all calls; not during a login, whose announced pause it would end.
    pub(super) fn restart_all_timeouts(&self) {
        self.extend_deadline(Paused::All, Duration::ZERO);
    }

    /// Works on a file of the state directory. The daemon must not take a slow disk for a hanging token: it would kill
    /// the worker each time.
    pub(super) fn while_using_disk<T>(&self, job: u64, work: impl FnOnce() -> T) -> T {
        self.extend_deadline(Paused::Call(job), LONGEST_USE_OF_DISK);
        let done = work();
        self.restart_timeout(job);
        done
    }

    /// Called after each step: tells the daemon that the call continues, and tells a discovery whether its time slice
    /// does.
    pub(super) fn heartbeat(&self, job: u64, time_slice: Duration) -> impl Fn() -> bool {
        let since = Instant::now();
        let last = Cell::new(since);
        move || {
            if last.get().elapsed() >= HEARTBEAT {
                self.restart_timeout(job);
                last.set(Instant::now());
            }
            since.elapsed() < time_slice
        }
    }
}
