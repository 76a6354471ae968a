//! Opens the KMS socket so that nobody connects too early, and closes it so that nobody else's is removed.

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

/// Connections that wait for `accept`. Go clients do not wait when it is full, they fail; the kernel caps it at
/// `net.core.somaxconn`.
const BACKLOG: i32 = 1024;

/// A socket that listens.
#[derive(Debug)]
pub(super) struct Socket {
    // Before the listener, so that it is dropped first: see `Place::leave`.
    pub(super) place: Place,
    pub(super) listener: UnixListener,
}

impl Socket {
    /// Takes over `adopted`, or opens what the options say. `name` is what a second daemon reads in the lock file.
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
                "the socket unit and the configuration name different sockets; the socket unit's is served"
            );
        }
        listener
            .set_nonblocking(true)
            .map_err(SocketError::refused("use", &address))?;
        let claim = match &address {
            SocketAddress::Path(path) => Claim::of(path)?,
            SocketAddress::Abstract(_) => Claim::nothing(),
        };
        let place = Place {
            address,
            claim,
            // The service manager keeps it open while the daemon restarts: callers wait instead of failing.
            unlink: false,
            _lock: None,
        };
        Ok(Self { place, listener })
    }

    fn open_path(path: &Path, mode: u32, name: &str) -> Result<Self, SocketError> {
        let shown = path.display();
        directory::check_above(path)?;
        let lock = lock::take(path, name)?;
        stale::clear(path)?;
        let address = SocketAddrUnix::new(path).map_err(SocketError::refused("use", &shown))?;
        let socket = stale::new_socket().map_err(SocketError::refused("make", &shown))?;
        rustix::net::bind(&socket, &address).map_err(SocketError::refused("make", &shown))?;
        let place = Place {
            address: SocketAddress::Path(path.to_owned()),
            claim: Claim::of(path)?,
            unlink: true,
            _lock: Some(lock),
        };
        // A bound socket refuses connections until it listens, so nobody connects before the mode is right.
        std::fs::set_permissions(path, Permissions::from_mode(mode & 0o777))
            .map_err(SocketError::refused("set the mode of", &shown))?;
        Self::listening(socket, place)
    }

    fn open_abstract(name: &str, shown: &SocketAddress) -> Result<Self, SocketError> {
        let address = SocketAddrUnix::new_abstract_name(name.as_bytes()).map_err(SocketError::refused("use", shown))?;
        let socket = stale::new_socket().map_err(SocketError::refused("make", shown))?;
        rustix::net::bind(&socket, &address).map_err(|errno| match errno {
            Errno::ADDRINUSE => SocketError::in_use(shown, stale::who_serves(&address)),
            _ => SocketError::refused("make", shown)(errno),
        })?;
        let place = Place {
            address: shown.clone(),
            claim: Claim::nothing(),
            unlink: false,
            _lock: None,
        };
        Self::listening(socket, place)
    }

    fn listening(socket: OwnedFd, place: Place) -> Result<Self, SocketError> {
        rustix::net::listen(&socket, BACKLOG).map_err(SocketError::refused("listen on", &place.address))?;
        Ok(Self {
            place,
            listener: UnixListener::from(socket),
        })
    }
}

/// What of a listening socket is in the file system: its name, and the lock beside it until this is dropped.
#[derive(Debug)]
pub(super) struct Place {
    pub(super) address: SocketAddress,
    pub(super) claim: Claim,
    unlink: bool,
    _lock: Option<Lock>,
}

impl Place {
    /// Removes the socket's name, if it still is ours. The listening descriptor must still be open: it keeps the inode
    /// from being used again, so that the comparison is sound.
    pub(super) fn leave(&mut self) {
        if std::mem::take(&mut self.unlink) {
            self.claim.remove();
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.leave();
    }
}

#[cfg(test)]
mod tests;
