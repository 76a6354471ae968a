//! The most concurrent calls with a key in the module.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::control;
use crate::counts;

/// The name of the file beside the control file that has the highest number of all processes.
const FILE: &str = "most-at-once";

static NOW: AtomicU64 = AtomicU64::new(0);
static MOST: AtomicU64 = AtomicU64::new(0);

/// A call in the module, until this is dropped.
pub(crate) struct Inside;

/// Begins a call. Only calls that do the token's work count.
pub(crate) fn begin(function: &str) -> Option<Inside> {
    if !matches!(
        function,
        "C_Encrypt" | "C_Decrypt" | "C_EncryptMessage" | "C_DecryptMessage"
    ) {
        return None;
    }
    let now = NOW.fetch_add(1, Ordering::Relaxed) + 1;
    if MOST.fetch_max(now, Ordering::Relaxed) < now
        && let Some(path) = control::beside(FILE)
    {
        counts::update(&path, |most| most.max(now));
    }
    Some(Inside)
}

impl Drop for Inside {
    fn drop(&mut self) {
        NOW.fetch_sub(1, Ordering::Relaxed);
    }
}
