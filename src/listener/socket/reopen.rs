//! Notices that callers can no longer reach the socket, as after a clean-up of its directory, and makes it again.

use std::time::Duration;

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
    ///
    /// # Cancel safety
    /// An attempt that is under way continues; a socket that it makes is closed.
    pub(in crate::listener) async fn made_again(self) -> NewSocket {
        let socket = &self.address;
        let mut reported = None;
        loop {
            tokio::time::sleep(LOOK).await;
            let Some(lost) = self.lost().await else {
                if reported.take().is_some() {
                    tracing::info!(%socket, "callers can reach the socket again");
                }
                continue;
            };
            let Some(own) = self.own.clone() else {
                tracing::error!(
                    %socket,
                    reason = lost,
                    "callers can no longer reach the socket, which the service manager has made: stop the service \
                     and its socket unit, then start both (systemctl stop dekhand.service dekhand.socket; systemctl \
                     start dekhand.socket dekhand.service)"
                );
                return std::future::pending().await;
            };
            if reported.is_none() {
                tracing::error!(%socket, reason = lost, "callers can no longer reach the socket; dekhand makes it again");
            }
            let attempt = tokio::task::spawn_blocking(move || own.place.open(Some(own.lock))).await;
            let error = match attempt {
                Ok(Ok(new)) => {
                    tracing::info!(%socket, "callers can reach the socket again");
                    return new;
                }
                Ok(Err(error)) => chain(&error),
                Err(error) => error.to_string(),
            };
            if reported.as_ref() != Some(&error) {
                tracing::error!(%socket, error, "cannot make the socket again; dekhand goes on trying");
                reported = Some(error);
            }
        }
    }

    /// Why callers cannot reach the socket, if they cannot. A thread of its own looks: no serving thread touches files.
    async fn lost(&self) -> Option<String> {
        let claim = self.claim.clone();
        let verdict = tokio::task::spawn_blocking(move || claim.verdict()).await;
        verdict.ok().and_then(Result::err)
    }
}
