//! Distinguishes the stale socket of a crashed daemon from a socket that is served.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::AddressFamily;
use rustix::net::SocketAddrUnix;
use rustix::net::SocketFlags;
use rustix::net::SocketType;
use rustix::net::sockopt;

use crate::listener::socket::error::SocketError;

/// Removes the stale socket of a crashed daemon. Any other file at `path` is left alone.
pub(super) fn clear(path: &Path) -> Result<(), SocketError> {
    let shown = path.display();
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {}
        Ok(_) => return Err(SocketError::NotASocket { path: path.to_owned() }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(SocketError::refused("read", &shown)(error)),
    }
    let address = SocketAddrUnix::new(path).map_err(SocketError::refused("use", &shown))?;
    match connect(&address) {
        Ok(probe) => Err(SocketError::in_use(&shown, who_answers(&probe))),
        // Its backlog is full, or it is a socket of another type: it is in use in both cases.
        Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(SocketError::in_use(&shown, "another process".to_owned())),
        Err(Errno::CONNREFUSED) => {
            std::fs::remove_file(path).map_err(SocketError::refused("remove the stale socket", &shown))
        }
        Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(SocketError::refused("check whether a process serves", &shown)(errno)),
    }
}

/// The process that serves an abstract name in use.
pub(super) fn who_serves(address: &SocketAddrUnix) -> String {
    connect(address).map_or_else(|_| "another process".to_owned(), |probe| who_answers(&probe))
}

/// Connects, and fails at once if the backlog is full.
pub(super) fn connect(address: &SocketAddrUnix) -> Result<OwnedFd, Errno> {
    let probe = new_socket()?;
    rustix::net::connect(&probe, address)?;
    Ok(probe)
}

/// A new non-blocking Unix stream socket, neither bound nor connected.
pub(super) fn new_socket() -> Result<OwnedFd, Errno> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
}

fn who_answers(probe: &OwnedFd) -> String {
    match sockopt::socket_peercred(probe) {
        Ok(peer) => format!("process {} of uid {}", peer.pid, peer.uid.as_raw()),
        Err(_) => "another process".to_owned(),
    }
}
