//! The lock file beside the socket, which names the daemon that serves it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;

use crate::files;
use crate::files::Lock;
use crate::files::instance_lock;
use crate::files::instance_lock::OwnerError;
use crate::listener::socket::error::SocketError;

/// Whether a held lock is the one of the file beside `path`, which may have been removed since.
pub(super) fn is_at(held: &Lock, path: &Path) -> bool {
    let there = std::fs::symlink_metadata(file(path));
    let held = held.file().metadata();
    matches!((held, there), (Ok(held), Ok(there)) if held.dev() == there.dev() && held.ino() == there.ino())
}

fn file(path: &Path) -> PathBuf {
    files::with_suffix(path, ".lock")
}

/// Takes the lock of the socket at `path`, and writes the daemon's name into the lock file.
pub(super) fn take(path: &Path, name: &str) -> Result<Lock, SocketError> {
    instance_lock::take(&file(path), name).map_err(|error| match error {
        OwnerError::Held(holder) => SocketError::in_use(&path.display(), holder),
        OwnerError::File(error) => SocketError::Lock(error),
    })
}
