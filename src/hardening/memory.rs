//! Keeps all memory from swap.

use rustix::mm::MlockAllFlags;
use rustix::process::Resource;
use rustix::thread::CapabilitySet;

use crate::hardening::HardeningError;
use crate::hardening::LockMemory;

/// Locks the present and future memory of this process, according to the option. Children that exec must do it
/// themselves. Returns a warning if memory cannot be locked.
///
/// # Errors
/// Memory must be locked and cannot be.
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

/// Locks each page when it is first used, so that unused stacks take no memory.
///
/// # Errors
/// The limit on locked memory is finite: the process would reach it later, while it serves.
fn lock() -> Result<(), String> {
    let unlimited = rustix::process::getrlimit(Resource::Memlock).current.is_none();
    let capable = rustix::thread::capabilities(None)
        .is_ok_and(|capabilities| capabilities.effective.contains(CapabilitySet::IPC_LOCK));
    if !unlimited && !capable {
        return Err("the limit on locked memory is finite (set LimitMEMLOCK=infinity, or add CAP_IPC_LOCK)".into());
    }
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    rustix::mm::mlockall(flags).map_err(|error| format!("mlockall: {error}"))
}
