//! Opens the KMS socket so that no caller connects too early, and removes only this daemon's own socket.

pub mod activation;
mod directory;
mod error;
mod identity;
mod lock;
mod stale;

use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::Path;

use rustix::io::Errno;
use rustix::net::SocketAddrUnix;

use crate::files::Lock;
use crate::listener::options::ListenerOptions;
use crate::listener::options::SocketAddress;

pub use error::SocketError;
pub use identity::Claim;

/// Connections that wait for `accept`. If the backlog is full, Go clients do not wait but fail. The kernel's limit is
/// `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// A listening socket.
#[derive(Debug)]
pub(super) struct Socket {
    // Before the listener, so that it is dropped first: see `SocketName::leave`.
    pub(super) name: SocketName,
    pub(super) listener: UnixListener,
}

impl Socket {
    /// Takes over `adopted`, or opens the socket of the options. `name` is written to the lock file for a second
    /// daemon.
    pub(super) fn open(
        options: &ListenerOptions,
        name: &str,
        adopted: Option<UnixListener>,
    ) -> Result<Self, SocketError> {
        match (adopted, &options.socket) {
            (Some(listener), configured) => Self::adopt(listener, configured),
            (None, SocketAddress::Path(path)) => Self::open_path(path, options.mode, name),
            (None, SocketAddress::Abstract(name)) => Self::open_abstract(name, &options.socket),
        }
    }

    fn adopt(listener: UnixListener, configured: &SocketAddress) -> Result<Self, SocketError> {
        let address = activation::address_of(&listener)?;
        if address != *configured {
            tracing::warn!(
                %address, %configured,
                "the socket unit and the configuration name different sockets; dekhand serves the socket unit's"
            );
        }
        listener
            .set_nonblocking(true)
            .map_err(SocketError::refused("use", &address))?;
        let claim = match &address {
            SocketAddress::Path(path) => Claim::of(path)?,
            SocketAddress::Abstract(_) => Claim::nothing(),
        };
        let name = SocketName {
            address,
            claim,
            // The service manager keeps it open while the daemon restarts: callers wait instead of failing.
            unlink: false,
            _lock: None,
        };
        Ok(Self { name, listener })
    }

    fn open_path(path: &Path, mode: u32, name: &str) -> Result<Self, SocketError> {
        let shown = path.display();
        directory::check_above(path)?;
        let lock = lock::take(path, name)?;
        stale::clear(path)?;
        let address = SocketAddrUnix::new(path).map_err(SocketError::refused("use", &shown))?;
        let socket = stale::new_socket().map_err(SocketError::refused("make", &shown))?;
        rustix::net::bind(&socket, &address).map_err(SocketError::refused("make", &shown))?;
        let socket_name = SocketName {
            address: SocketAddress::Path(path.to_owned()),
            claim: Claim::of(path)?,
            unlink: true,
            _lock: Some(lock),
        };
        // A bound socket refuses connections until it listens, so no caller connects before the mode is right.
        std::fs::set_permissions(path, Permissions::from_mode(mode & 0o777))
            .map_err(SocketError::refused("set the mode of", &shown))?;
        Self::listening(socket, socket_name)
    }

    fn open_abstract(name: &str, shown: &SocketAddress) -> Result<Self, SocketError> {
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(SocketError::refused("use", shown))?;
        let socket = stale::new_socket().map_err(SocketError::refused("make", shown))?;
        rustix::net::bind(&socket, &address).map_err(|errno| match errno {
            Errno::ADDRINUSE => SocketError::in_use(shown, stale::who_serves(&address)),
            _ => SocketError::refused("make", shown)(errno),
        })?;
        let socket_name = SocketName {
            address: shown.clone(),
            claim: Claim::nothing(),
            unlink: false,
            _lock: None,
        };
        Self::listening(socket, socket_name)
    }

    fn listening(socket: OwnedFd, name: SocketName) -> Result<Self, SocketError> {
        rustix::net::listen(&socket, BACKLOG).map_err(SocketError::refused("listen on", &name.address))?;
        Ok(Self {
            name,
            listener: UnixListener::from(socket),
        })
    }
}

/// The name of a listening socket in the file system, and the lock beside it, which is held until this is dropped.
#[derive(Debug)]
pub(super) struct SocketName {
    pub(super) address: SocketAddress,
    pub(super) claim: Claim,
    unlink: bool,
    _lock: Option<Lock>,
}

impl SocketName {
    /// Removes the socket's name if it is still this daemon's. The listening descriptor must still be open: then the
    /// inode's number is not reused, so that the comparison is sound.
    pub(super) fn leave(&mut self) {
        if std::mem::take(&mut self.unlink) {
            self.claim.remove();
        }
    }
}

impl Drop for SocketName {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;
