//! Keeps all memory from swap.

use rustix::mm::MlockAllFlags;
use rustix::process::Resource;
use rustix::thread::CapabilitySet;

use crate::hardening::HardeningError;
use crate::hardening::LockMemory;

/// Locks what this process has mapped and what it will, as the option says. Children that exec have to do it themselves.
/// Returns what was tried and could not be had.
///
/// # Errors
/// It is required and can't be had.
pub fn keep(lock_memory: LockMemory) -> Result<Option<String>, HardeningError> {
    if lock_memory == LockMemory::Off {
        return Ok(None);
    }
    match lock() {
        Ok(()) => Ok(None),
        Err(reason) if lock_memory == LockMemory::Require => Err(HardeningError::Memory { reason }),
        Err(reason) => Ok(Some(format!("memory may be swapped: {reason}"))),
    }
}

/// Page by page as it is used, so that unused stacks take no memory.
///
/// # Errors
/// The limit on locked memory is finite: the process would run into it later, in the middle of its work.
fn lock() -> Result<(), String> {
    let unlimited = rustix::process::getrlimit(Resource::Memlock).current.is_none();
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|capabilities| capabilities.effective.contains(CapabilitySet::IPC_LOCK));
    if !unlimited && !capable {
        return Err("the limit on locked memory is finite (LimitMEMLOCK=infinity, or CAP_IPC_LOCK)".into());
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    rustix::mm::mlockall(flags).map_err(|error| format!("mlockall: {error}"))
}
