//! Keeps all memory from swap.

use rustix::mm::MlockAllFlags;
use rustix::process::Resource;
use rustix::thread::CapabilitySet;

/// Locks what is mapped and what will be, page by page as it is used, so that unused stacks take no memory.
///
/// # Errors
/// The limit on locked memory is finite: the process would run into it later, in the middle of its work.
pub(super) fn lock() -> Result<(), String> {
    let unlimited = rustix::process::getrlimit(Resource::Memlock).current.is_none();
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|capabilities| capabilities.effective.contains(CapabilitySet::IPC_LOCK));
    if !unlimited && !capable {
        return Err("the limit on locked memory is finite (LimitMEMLOCK=infinity, or CAP_IPC_LOCK)".into());
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    rustix::mm::mlockall(flags).map_err(|error| format!("mlockall: {error}"))
}
