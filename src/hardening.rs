//! What the daemon gives up before it serves: being dumped, swapped, and starting programs.

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
