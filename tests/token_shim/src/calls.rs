//! The record of every call.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::sync::OnceLock;

/// The variable with the path of the file.
pub const VARIABLE: &str = "DEKHAND_SHIM_CALLS";

/// Appends a line: the process and the function.
pub(crate) fn record(function: &str) {
    static FILE: OnceLock<Option<File>> = OnceLock::new();
    let file = FILE.get_or_init(|| {
        let path = std::env::var_os(VARIABLE)?;
        OpenOptions::new().append(true).create(true).open(path).ok()
    });
    if let Some(mut file) = file.as_ref() {
        // One write, so that lines of several processes do not mix.
        let line = format!("{} {function}\n", std::process::id());
        drop(file.write_all(line.as_bytes()));
    }
}
