//! Notices that callers can no longer reach the socket, as after a clean-up of its directory, and makes it again.

use std::sync::Arc;
use std::sync::mpsc;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use tokio::sync::oneshot;

use crate::listener::options::SocketAddress;
use crate::listener::socket::Claim;
use crate::listener::socket::NewSocket;
use crate::listener::socket::OwnName;
use crate::listener::socket::SocketName;
use crate::telemetry::log::chain;

/// The interval at which the daemon looks whether its socket is still at its path.
const LOOK: Duration = Duration::from_secs(2);

/// A socket that is watched.
#[derive(Debug)]
pub(in crate::listener) struct Watched {
    address: SocketAddress,
    claim: Claim,
    own: Option<OwnName>,
}

impl SocketName {
    /// This socket, to be watched.
    pub(in crate::listener) fn watched(&self) -> Watched {
        Watched {
            address: self.address.clone(),
            claim: self.claim.clone(),
            own: self.own.clone(),
        }
    }
}

impl Watched {
    /// Completes when the socket was lost and the daemon has made another one at the same path. Never completes for an
    /// abstract socket, which cannot be lost, and for one of the service manager, which only an operator can make again.
    /// A thread of its own looks: no serving thread touches files.
    ///
    /// # Cancel safety
    /// The thread ends; a socket that it is making is removed.
    pub(in crate::listener) async fn made_again(self) -> NewSocket {
        let (made, new) = oneshot::channel();
        // Dropped with this future, for which the thread waits between two looks.
        let (_wanted, stop) = mpsc::channel::<()>();
        if matches!(self.address, SocketAddress::Path(_)) {
            let look = move || {
                if let Some(unwanted) = self.make_again(&stop).and_then(|socket| made.send(socket).err()) {
                    unwanted.remove();
                }
            };
            if let Err(error) = std::thread::Builder::new().name("socket".to_owned()).spawn(look) {
                tracing::warn!(%error, "cannot watch the socket: if its file is removed, restart the daemon");
            }
        }
        match new.await {
            Ok(new) => new,
            Err(_) => std::future::pending().await,
        }
    }

    /// Waits until the socket is lost, and makes it again. `None` when nobody wants it any more, or nobody can make it.
    fn make_again(&self, stop: &mpsc::Receiver<()>) -> Option<NewSocket> {
        let socket = &self.address;
        let mut reported = None;
        while stop.recv_timeout(LOOK) == Err(RecvTimeoutError::Timeout) {
            let Err(lost) = self.claim.verdict() else {
                if reported.take().is_some() {
                    tracing::info!(%socket, "callers can reach the socket again");
                }
                continue;
            };
            let Some(OwnName { place, lock }) = &self.own else {
                tracing::error!(
                    %socket,
                    reason = lost,
                    "callers can no longer reach the socket, which the service manager has made: stop the service \
                     and its socket unit, then start both (systemctl stop dekhand.service dekhand.socket; systemctl \
                     start dekhand.socket dekhand.service)"
                );
                return None;
            };
            if reported.is_none() {
                tracing::error!(%socket, reason = lost, "callers can no longer reach the socket; dekhand makes it again");
            }
            match place.open(Some(Arc::clone(lock))) {
                Ok(new) => {
                    tracing::info!(%socket, "callers can reach the socket again");
                    return Some(new);
                }
                Err(error) => {
                    let error = chain(&error);
                    if reported.as_ref() != Some(&error) {
                        tracing::error!(%socket, error, "cannot make the socket again; dekhand goes on trying");
                        reported = Some(error);
                    }
                }
            }
        }
        None
    }
}
