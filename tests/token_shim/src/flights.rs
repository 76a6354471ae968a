//! How many calls with a key were in the module at once.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use crate::control;
use crate::counts;

/// The name of the file beside the control file where the highest number of all processes is.
const FILE: &str = "most-at-once";

static NOW: AtomicU64 = AtomicU64::new(0);
static MOST: AtomicU64 = AtomicU64::new(0);

/// A call that is in the module until this is dropped.
pub(crate) struct Inside;

/// A call comes in. Only those count that do the token's work.
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
