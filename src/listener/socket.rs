//! Opens the KMS socket so that no caller connects too early, and removes only this daemon's own socket.

pub mod activation;
mod directory;
mod error;
mod identity;
mod lock;
pub(super) mod reopen;
mod stale;

use std::fmt::Display;
use std::fs::Permissions;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;

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
            (None, SocketAddress::Path(path)) => Self::open_path(Place {
                path: path.clone(),
                mode: options.mode,
                group: options.group,
                shared_directory: options.shared_directory,
                daemon: name.to_owned(),
            }),
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
            own: None,
        };
        Ok(Self { name, listener })
    }

    fn open_path(place: Place) -> Result<Self, SocketError> {
        let NewSocket { listener, claim, lock } = place.open(None)?;
        let name = SocketName {
            address: SocketAddress::Path(place.path.clone()),
            claim,
            own: Some(OwnName { place, lock }),
        };
        Ok(Self { name, listener })
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
            own: None,
        };
        let listener = listening(socket, shown)?;
        Ok(Self {
            name: socket_name,
            listener,
        })
    }
}

fn listening(socket: OwnedFd, shown: &dyn Display) -> Result<UnixListener, SocketError> {
    rustix::net::listen(&socket, BACKLOG).map_err(SocketError::refused("listen on", shown))?;
    Ok(UnixListener::from(socket))
}

/// A path at which the daemon makes a socket of its own.
#[derive(Clone, Debug)]
struct Place {
    path: PathBuf,
    mode: u32,
    group: Option<u32>,
    shared_directory: bool,
    /// The daemon's name, for the lock file.
    daemon: String,
}

/// A socket that was made at a [`Place`].
#[derive(Debug)]
pub(super) struct NewSocket {
    pub(super) listener: UnixListener,
    claim: Claim,
    lock: Arc<Lock>,
}

impl NewSocket {
    /// Removes it: nobody will serve it.
    fn remove(self) {
        self.claim.remove();
    }
}

impl Place {
    /// Makes the socket. `held` is the lock that this daemon already has, if the lock file is still in its place.
    fn open(&self, held: Option<Arc<Lock>>) -> Result<NewSocket, SocketError> {
        let path = self.path.as_path();
        let shown = path.display();
        directory::check_above(path, self.shared_directory)?;
        let lock = match held.filter(|held| lock::is_at(held, path)) {
            Some(held) => held,
            None => Arc::new(lock::take(path, &self.daemon)?),
        };
        stale::clear(path)?;
        let address = SocketAddrUnix::new(path).map_err(SocketError::refused("use", &shown))?;
        let socket = stale::new_socket().map_err(SocketError::refused("make", &shown))?;
        rustix::net::bind(&socket, &address).map_err(SocketError::refused("make", &shown))?;
        let claim = Claim::of(path)?;
        // A bound socket refuses connections until it listens, so no caller connects before group and mode are right.
        if let Some(group) = self.group {
            std::os::unix::fs::lchown(path, None, Some(group))
                .map_err(SocketError::refused("set the group (listen.group) of", &shown))?;
        }
        std::fs::set_permissions(path, Permissions::from_mode(self.mode & 0o777))
            .map_err(SocketError::refused("set the mode of", &shown))?;
        let listener = listening(socket, &shown)?;
        Ok(NewSocket { listener, claim, lock })
    }
}

/// The name of a listening socket in the file system.
#[derive(Debug)]
pub(super) struct SocketName {
    pub(super) address: SocketAddress,
    pub(super) claim: Claim,
    /// For a socket that the daemon has made at a path, and removes at its end.
    own: Option<OwnName>,
}

/// The place of the daemon's own socket, and the lock beside it, which is held until this is dropped.
#[derive(Clone, Debug)]
struct OwnName {
    place: Place,
    lock: Arc<Lock>,
}

impl SocketName {
    /// Removes the socket's name if it is still this daemon's. The listening descriptor must still be open: then the
    /// inode's number is not reused, so that the comparison is sound. Returns the lock.
    pub(super) fn leave(&mut self) -> Option<Arc<Lock>> {
        let own = self.own.take()?;
        self.claim.remove();
        Some(own.lock)
    }

    /// The daemon has made its socket again. Returns the new listener.
    pub(super) fn renew(&mut self, new: NewSocket) -> UnixListener {
        let NewSocket { listener, claim, lock } = new;
        self.claim.replace(&claim);
        if let Some(own) = &mut self.own {
            own.lock = lock;
        }
        listener
    }
}

impl Drop for SocketName {
    fn drop(&mut self) {
        drop(self.leave());
    }
}

#[cfg(test)]
mod tests;
