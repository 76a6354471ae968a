//! What the daemon gives up before it serves: being dumped, being swapped, looking into workers, starting programs.

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
    /// If the limits allow; a warning otherwise.
    #[default]
    Try,
    /// Or the daemon does not start.
    Require,
    /// Not at all.
    Off,
}

/// A protection that was asked for can't be had.
#[derive(Debug, thiserror::Error)]
pub enum HardeningError {
    /// Core files or debuggers can't be refused.
    #[error("cannot keep this process from being dumped")]
    NotDumpable(#[source] io::Error),
    /// Memory can't be locked.
    #[error("cannot keep memory from swap: {reason}")]
    Memory {
        /// Why, and what to do.
        reason: String,
    },
    /// The filter can't be installed.
    #[error("cannot install the system-call filter (`hardening.seccomp: false` goes on without it)")]
    Seccomp(#[source] Box<dyn std::error::Error + Send + Sync>),
}

/// Gives up what the options say, for this process and every thread that it will start. To be called before there are
/// other threads, and after the spawner was started. Returns what was tried and could not be had, for the log.
///
/// # Errors
/// A protection that is required can't be had.
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

/// Gives up what a command can do without, whose memory may hold root keys: as much as can be had. A command ends soon,
/// and the daemon is what insists; its token workers do as `lock_memory` says.
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
