//! The KMS socket: accepts connections, checks their peers and serves HTTP/2 on them.

mod accept;
pub mod authority;
mod connection;
mod connection_table;
mod frame;
mod frame_deadline;
mod limits;
pub mod options;
pub mod peers;
mod read_quota;
mod request;
mod request_body;
mod request_head;
mod response_permit;
pub mod socket;
mod timeout;

use std::io;
use std::os::unix::net::UnixListener;

use crate::listener::accept::Acceptor;
use crate::listener::options::ListenerOptions;
use crate::listener::options::SocketAddress;
use crate::listener::peers::Peers;
use crate::listener::socket::Claim;
use crate::listener::socket::Socket;
use crate::listener::socket::SocketError;
use crate::telemetry::metrics::Metrics;

pub use request::GrpcService;
pub use request::caller_of;

/// An open KMS socket. Callers can already connect; they are served once [`Self::serve`] runs.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    peers: Peers,
    metrics: Metrics,
}

impl Listener {
    /// Takes over the socket that [`socket::activation::take`] found, or opens the one of the options. `name` is the
    /// daemon's name, for the error of another daemon that finds the socket in use.
    ///
    /// # Errors
    /// Another process serves the socket, or its directory is not safe.
    pub fn open(
        options: &ListenerOptions,
        name: &str,
        adopted: Option<UnixListener>,
        metrics: Metrics,
    ) -> Result<Self, SocketError> {
        Ok(Self {
            socket: Socket::open(options, name, adopted)?,
            peers: Peers::new(&options.peers),
            metrics,
        })
    }

    /// The address on which it actually listens.
    pub fn address(&self) -> &SocketAddress {
        &self.socket.name.address
    }

    /// Changes the allowed callers while it runs.
    pub fn peers(&self) -> Peers {
        self.peers.clone()
    }

    /// Checks, while it runs, whether callers still reach this socket.
    pub fn claim(&self) -> Claim {
        self.socket.name.claim.clone()
    }

    /// Serves until `shutdown` completes; then refuses new connections, gives requests in flight 3 s, and removes the
    /// socket.
    ///
    /// # Cancel safety
    /// Dropping it ends all connections at once and removes the socket.
    ///
    /// # Errors
    /// The runtime cannot poll the socket.
    pub async fn serve(self, service: impl GrpcService, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        Acceptor::new(service, self.peers, self.metrics)
            .run(self.socket, shutdown)
            .await
    }
}

#[cfg(test)]
mod tests;
