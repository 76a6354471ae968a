//! Restricts the processes of spawner and worker before they serve the daemon.

use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;

/// Sets stop signals aside, forbids core files and debuggers, and sets the process's name.
///
/// Supervisors and terminals send stop signals to all processes at once, but the daemon decides when the last call is
/// made. So the signals are handled and have no effect; they are not ignored, because child processes would inherit
/// that.
///
/// # Errors
/// The operating system refuses.
pub(super) fn prepare(name: &CStr, set_aside: &[Signal]) -> io::Result<()> {
    for signal in set_aside {
        signal_hook::flag::register(signal.as_raw(), Arc::new(AtomicBool::new(false)))?;
    }
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)?;
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable)?;
    // Otherwise the name would be `exe`, because the process was started as /proc/self/exe.
    Ok(rustix::thread::set_name(name)?)
}
