//! Refuses a socket directory in which other users could replace the socket.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use crate::files;
use crate::listener::socket::error::SocketError;

const STICKY: u32 = 0o1000;

/// Checks the directory of `path` and all directories above it, after resolving symbolic links. With `shared`, other users
/// may write to the directory itself.
pub(super) fn check_above(path: &Path, shared: bool) -> Result<(), SocketError> {
    let directory = files::directory_of(path);
    let failed = |source: io::Error| match source.kind() {
        io::ErrorKind::NotFound => SocketError::NoDirectory {
            directory: directory.to_owned(),
        },
        _ => SocketError::Io {
            action: "use the directory",
            socket: directory.display().to_string(),
            source,
        },
    };
    let own = rustix::process::geteuid().as_raw();
    let own_group = rustix::process::getegid().as_raw();
    let directory_itself = std::fs::canonicalize(directory).map_err(failed)?;
    for (above, directory) in directory_itself.ancestors().enumerate() {
        let metadata = std::fs::metadata(directory).map_err(failed)?;
        let mode = metadata.mode() & 0o7777;
        let writable = if above == 0 {
            mode & 0o022 != 0 && !shared
        } else {
            // Home directories are often writable by their user's own group. In a sticky directory only owners can
            // rename.
            let by_group = mode & 0o020 != 0 && metadata.gid() != 0 && metadata.gid() != own_group;
            mode & STICKY == 0 && (mode & 0o002 != 0 || by_group)
        };
        if writable {
            return Err(SocketError::WritableDirectory {
                directory: directory.to_owned(),
                mode,
            });
        }
        // Owners further up are not checked: in a user namespace they may have no known uid.
        if above == 0 && metadata.uid() != 0 && metadata.uid() != own {
            return Err(SocketError::ForeignDirectory {
                directory: directory.to_owned(),
                uid: metadata.uid(),
                own,
            });
        }
    }
    Ok(())
}
