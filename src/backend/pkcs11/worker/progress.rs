//! Progress reports to the daemon, which kills a worker whose call makes no progress.

use std::cell::Cell;
use std::time::Duration;
use std::time::Instant;

use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::worker::channel::Outlet;

/// The interval of progress reports from work that cannot be interrupted. A call that hangs sends none, and is noticed.
const SIGN: Duration = Duration::from_millis(100);
/// The longest wait for the disk that is announced to the daemon.
const LONGEST_AT_THE_DISK: Duration = Duration::from_secs(30);

impl Outlet {
    /// Tells the daemon between two steps of a call that it continues. A step that hangs sends nothing, and is noticed.
    pub(super) fn goes_on(&self, job: u64) {
        self.extend_deadline(Paused::Call(job), Duration::ZERO);
    }

    /// The same for all calls; not during a login, whose announced pause it would end.
    pub(super) fn all_go_on(&self) {
        self.extend_deadline(Paused::All, Duration::ZERO);
    }

    /// Works on a file of the state directory. The daemon must not take a slow disk for a hanging token: it would kill
    /// the worker each time.
    pub(super) fn at_the_disk<T>(&self, job: u64, work: impl FnOnce() -> T) -> T {
        self.extend_deadline(Paused::Call(job), LONGEST_AT_THE_DISK);
        let done = work();
        self.goes_on(job);
        done
    }

    /// Called after each step: tells the daemon that the call continues, and tells a discovery whether its stretch
    /// does.
    pub(super) fn signs(&self, job: u64, stretch: Duration) -> impl Fn() -> bool {
        let since = Instant::now();
        let last = Cell::new(since);
        move || {
            if last.get().elapsed() >= SIGN {
                self.goes_on(job);
                last.set(Instant::now());
            }
            since.elapsed() < stretch
        }
    }
}
