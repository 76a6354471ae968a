//! Adopts the listening socket of a systemd socket unit, which outlives restarts of the daemon.

use std::os::linux::net::SocketAddrExt as _;
use std::os::unix::net::UnixListener;

use listenfd::ListenFd;
use rustix::net::sockopt;

use crate::listener::options::SocketAddress;
use crate::listener::socket::error::SocketError;

/// The socket that the service manager passed to this process, if it passed one. Must be called once, before any thread
/// is started: it removes `LISTEN_FDS` from the environment.
///
/// # Errors
/// The service manager passed something else than one listening Unix stream socket.
pub fn take() -> Result<Option<UnixListener>, SocketError> {
    let mut passed = ListenFd::from_env();
    if passed.len() > 1 {
        return Err(SocketError::Adopted {
            what: format!("{} sockets", passed.len()),
        });
    }
    let listener = passed.take_unix_listener(0).map_err(|error| SocketError::Adopted {
        what: error.to_string(),
    })?;
    listener.map(listening).transpose()
}

pub(super) fn listening(listener: UnixListener) -> Result<UnixListener, SocketError> {
    match sockopt::socket_acceptconn(&listener) {
        Ok(true) => Ok(listener),
        _ => Err(SocketError::Adopted {
            what: "a socket that does not listen".to_owned(),
        }),
    }
}

/// The address of an adopted socket.
pub(super) fn address_of(listener: &UnixListener) -> Result<SocketAddress, SocketError> {
    let address = listener.local_addr().ok();
    let text = address.and_then(|address| match (address.as_pathname(), address.as_abstract_name()) {
        (Some(path), _) => path.to_str().map(str::to_owned),
        (None, Some(name)) => std::str::from_utf8(name).ok().map(|name| format!("@{name}")),
        (None, None) => None,
    });
    text.and_then(|text| text.parse().ok())
        .ok_or_else(|| SocketError::Adopted {
            what: "a socket without a usable name".to_owned(),
        })
}
