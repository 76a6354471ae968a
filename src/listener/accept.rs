//! Accepts connections, and goes on whatever happens.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::listener::body::Budget;
use crate::listener::call::Caller;
use crate::listener::call::Service;
use crate::listener::connection;
use crate::listener::limits::Room;
use crate::listener::peers::Peers;
use crate::listener::seats::Seats;
use crate::listener::socket::Socket;
use crate::telemetry::limit::LineLimit;
use crate::telemetry::metrics::Metrics;

/// How long to wait after an error: the next `accept` may fail at once.
const PAUSE: Duration = Duration::from_millis(100);
/// Lines a second about requests that were refused before their service saw them.
const REFUSED_CALLS: u32 = 10;

/// The loop and what it shares among connections.
#[derive(Debug)]
pub(super) struct Acceptor<S> {
    service: S,
    peers: Peers,
    metrics: Metrics,
    room: Room,
    budget: Budget,
    seats: Seats,
    connections: JoinSet<()>,
    draining: watch::Sender<bool>,
    refused_calls: Arc<LineLimit>,
    refused_peers: LineLimit,
    full: LineLimit,
    failures: LineLimit,
}

impl<S: Service> Acceptor<S> {
    pub(super) fn new(service: S, peers: Peers, metrics: Metrics) -> Self {
        Self {
            service,
            peers,
            metrics,
            room: Room::new(),
            budget: Budget::default(),
            seats: Seats::default(),
            connections: JoinSet::new(),
            draining: watch::Sender::new(false),
            refused_calls: Arc::new(LineLimit::new(REFUSED_CALLS)),
            refused_peers: LineLimit::new(1),
            full: LineLimit::new(1),
            failures: LineLimit::new(1),
        }
    }

    /// Accepts until `shutdown`, then leaves the socket at once and waits for the connections to drain.
    ///
    /// # Cancel safety
    /// Dropping it ends all connections at once and leaves the socket.
    pub(super) async fn run(mut self, socket: Socket, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Socket { mut place, listener } = socket;
        let listener = UnixListener::from_std(listener)?;
        let mut shutdown = pin!(shutdown);
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = self.connections.join_next_with_id() => self.ended(ended),
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        self.admit(stream);
                        // The newcomer's first bytes are seen before the next one may take its seat.
                        tokio::task::yield_now().await;
                    }
                    Err(error) => self.failed(&error).await,
                },
            }
        }
        // The name goes before the descriptor; callers from here on see at once that nobody is there.
        place.leave();
        drop(listener);
        self.draining.send_replace(true);
        while let Some(ended) = self.connections.join_next_with_id().await {
            self.ended(ended);
        }
        // The lock goes last: a successor does not start beside us.
        drop(place);
        Ok(())
    }

    fn admit(&mut self, stream: UnixStream) {
        let Ok(peer) = stream.peer_cred() else {
            return;
        };
        let (uid, pid) = (peer.uid(), peer.pid());
        if !self.peers.admits(uid) {
            self.metrics.refused_peers.inc();
            if let Some(suppressed) = self.refused_peers.pass() {
                tracing::warn!(uid, pid, suppressed, "refused a connection: its uid may not call");
            }
            return;
        }
        if !self.seats.make_room() {
            if let Some(suppressed) = self.full.pass() {
                tracing::warn!(uid, pid, suppressed, "refused a connection: all others are in use");
            }
            return;
        }
        let seat = self.seats.offer();
        let caller = Caller {
            service: self.service.clone(),
            room: self.room.for_connection(),
            budget: self.budget.clone(),
            seat: seat.clone(),
            metrics: self.metrics.clone(),
            lines: self.refused_calls.clone(),
        };
        let draining = self.draining.subscribe();
        let task = self
            .connections
            .spawn(connection::serve(stream, uid, caller, self.peers.clone(), draining));
        self.seats.sit(task, seat);
        self.count();
    }

    fn ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        self.seats.leave(match ended {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        });
        self.count();
    }

    fn count(&self) {
        self.metrics
            .connections
            .set(i64::try_from(self.seats.taken()).unwrap_or(i64::MAX));
    }

    async fn failed(&self, error: &io::Error) {
        if let Some(suppressed) = self.failures.pass() {
            tracing::warn!(%error, suppressed, "cannot accept a connection");
        }
        // Without descriptors, or on a socket that somebody shut down, the next call would fail at once.
        tokio::time::sleep(PAUSE).await;
    }
}
