//! Hardening before the daemon serves: no dumps, no swap, no access to other processes, no program starts.

mod domain;
pub mod memory;
mod seccomp;

use std::io;

use rustix::process::DumpableBehavior;
use rustix::process::Resource;
use rustix::process::Rlimit;
use serde::Deserialize;
use serde::Serialize;

/// The options of hardening.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HardeningOptions {
    /// Whether memory is kept from swap.
    pub lock_memory: LockMemory,
    /// Whether a system-call filter is installed.
    pub seccomp: bool,
}

impl Default for HardeningOptions {
    fn default() -> Self {
        Self {
            lock_memory: LockMemory::Try,
            seccomp: true,
        }
    }
}

/// Whether memory is kept from swap (`mlockall`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LockMemory {
    /// Memory is locked if the limits allow it. Otherwise the daemon logs a warning.
    #[default]
    Try,
    /// Memory is locked, or the daemon does not start.
    Require,
    /// Memory is not locked.
    Off,
}

/// A required protection is unavailable.
#[derive(Debug, thiserror::Error)]
pub enum HardeningError {
    /// Core files or debuggers cannot be disabled.
    #[error("cannot make this process non-dumpable")]
    NotDumpable(#[source] io::Error),
    /// Memory cannot be locked.
    #[error("cannot keep memory from swap: {reason}")]
    Memory {
        /// The cause, and what to do.
        reason: String,
    },
    /// The filter cannot be installed.
    #[error("cannot install the system-call filter (to start without it, set `hardening.seccomp: false`)")]
    Seccomp(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Applies the options to this process and every thread that it will start. Must be called after the spawner was
/// started and before there are other threads. Returns warnings about optional protections that are unavailable.
///
/// # Errors
/// A required protection is unavailable.
pub fn apply(options: &HardeningOptions) -> Result<Vec<String>, HardeningError> {
    let HardeningOptions { lock_memory, seccomp } = options;
    refuse_dumps()?;
    let mut warnings = Vec::new();
    warnings.extend(memory::keep(*lock_memory)?);
    if let Err(error) = domain::enter() {
        warnings.push(format!(
            "no Landlock domain, so code that hijacked the daemon could read the memory of token workers: {error}"
        ));
    }
    if *seccomp {
        seccomp::install().map_err(HardeningError::Seccomp)?;
    }
    Ok(warnings)
}

/// Hardens a command, whose memory may hold root keys, as far as possible. Unavailable protections are ignored, since a
/// command ends soon. Its token workers follow `lock_memory`.
pub fn apply_to_command() {
    refuse_dumps().ok();
    memory::keep(LockMemory::Try).ok();
}

fn refuse_dumps() -> Result<(), HardeningError> {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    rustix::process::setrlimit(Resource::Core, none)
        .and_then(|()| rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable))
        .map_err(|error| HardeningError::NotDumpable(error.into()))
}
