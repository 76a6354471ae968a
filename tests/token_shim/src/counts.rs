//! Counts in files, shared by all processes.

use std::fs::File;
use std::fs::OpenOptions;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::Write as _;
use std::path::Path;

/// Reads a count and replaces it by `next` of it; returns the old one.
pub(crate) fn update(path: &Path, next: impl FnOnce(u64) -> u64) -> u64 {
    let mut file = open(path);
    file.lock().expect("a lock on a count");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("a count");
    let old = text.trim().parse().unwrap_or(0);
    let new = next(old);
    if new != old {
        file.set_len(0).expect("a count");
        file.rewind().expect("a count");
        write!(file, "{new}").expect("a count");
    }
    old
}

fn open(path: &Path) -> File {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    file.unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
