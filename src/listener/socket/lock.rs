//! The lock file beside the socket, which names the daemon that serves it.

use std::path::Path;

use crate::files;
use crate::files::Lock;
use crate::files::instance_lock;
use crate::files::instance_lock::OwnerError;
use crate::listener::socket::error::SocketError;

/// Takes the lock of the socket at `path`, and writes the daemon's name into the lock file.
pub(super) fn take(path: &Path, name: &str) -> Result<Lock, SocketError> {
    instance_lock::take(&files::with_suffix(path, ".lock"), name).map_err(|error| match error {
        OwnerError::Held(holder) => SocketError::in_use(&path.display(), holder),
        OwnerError::File(error) => SocketError::Lock(error),
    })
}
