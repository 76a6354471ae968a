//! What spawner and worker give up before they serve the daemon.

use std::ffi::CStr;
use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;

/// Sets stop signals aside, has no core file and no debugger, and takes a name.
///
/// Supervisors and terminals send stop signals to all processes at once, and it is the daemon that says when the last
/// call was made. So they are handled and forgotten; not ignored, which whatever is started here would inherit.
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
    // Otherwise it would be called `exe`, as it was started by /proc/self/exe.
    Ok(rustix::thread::set_name(name)?)
}
