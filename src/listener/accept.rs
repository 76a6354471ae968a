//! Accepts connections, and continues after every error.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use tokio::net::UnixListener;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::caller::ConnectionId;
use crate::listener::connection;
use crate::listener::connection_table::ConnectionAdmission;
use crate::listener::connection_table::ConnectionTable;
use crate::listener::connection_table::Process;
use crate::listener::limits;
use crate::listener::peers::Peers;
use crate::listener::request::ConnectionService;
use crate::listener::request::GrpcService;
use crate::listener::request_body::Arrivals;
use crate::listener::request_body::Budget;
use crate::listener::socket::Socket;
use crate::quota::Quota;
use crate::telemetry::limit::LineLimit;
use crate::telemetry::metrics::Metrics;

/// The pause after an error, since the next `accept` may fail at once.
const PAUSE: Duration = Duration::from_millis(100);
/// Lines a second about requests that are refused before they reach their service.
const REFUSED_CALLS: u32 = 10;

/// The accept loop and the state that all connections share.
#[derive(Debug)]
pub(super) struct Acceptor<S> {
    service: S,
    peers: Peers,
    metrics: Metrics,
    in_flight: Quota,
    unfinished: Quota,
    unfetched: Quota,
    budget: Budget,
    table: ConnectionTable,
    connections: JoinSet<()>,
    /// The number of the next connection. Numbers are never reused.
    next: u64,
    draining: watch::Sender<bool>,
    refused_calls: Arc<LineLimit>,
    refused_peers: LineLimit,
    full: LineLimit,
    failures: LineLimit,
}

impl<S: GrpcService> Acceptor<S> {
    pub(super) fn new(service: S, peers: Peers, metrics: Metrics) -> Self {
        Self {
            service,
            peers,
            metrics,
            in_flight: Quota::new(limits::IN_FLIGHT),
            unfinished: Quota::new(limits::UNFINISHED),
            unfetched: Quota::new(limits::UNFETCHED),
            budget: Budget::default(),
            table: ConnectionTable::default(),
            connections: JoinSet::new(),
            next: 0,
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
        let Socket { mut name, listener } = socket;
        let mut listener = UnixListener::from_std(listener)?;
        let mut made_again = Box::pin(name.watched().made_again());
        let mut shutdown = pin!(shutdown);
        let mut starved = false;
        loop {
            tokio::select! {
                biased;
                () = &mut shutdown => break,
                Some(ended) = self.connections.join_next_with_id() => self.ended(ended),
                new = &mut made_again => {
                    listener = UnixListener::from_std(name.renew(new))?;
                    made_again = Box::pin(name.watched().made_again());
                }
                accepted = listener.accept() => match accepted {
                    Ok((stream, _)) => {
                        starved = false;
                        self.admit(stream);
                        // Lets the new connection's first bytes be read before the next one may displace it.
                        tokio::task::yield_now().await;
                    }
                    Err(error) => {
                        starved = !starved && self.make_descriptor(&error);
                        if starved {
                            tokio::task::yield_now().await;
                        } else {
                            self.failed(&error).await;
                        }
                    }
                },
            }
        }
        drop(made_again);
        // Removes the name before closing the descriptor: from here on, connecting fails at once.
        let lock = name.leave();
        drop(listener);
        self.draining.send_replace(true);
        while let Some(ended) = self.connections.join_next_with_id().await {
            self.ended(ended);
        }
        // Releases the lock last: a successor must not start before this daemon has ended.
        drop(lock);
        Ok(())
    }

    fn admit(&mut self, stream: UnixStream) {
        let Ok(peer) = stream.peer_cred() else {
            return;
        };
        // 0 stands for a process without a number in this PID namespace.
        let (uid, pid) = (peer.uid(), peer.pid().filter(|pid| *pid > 0));
        if !self.peers.admits(uid) {
            self.metrics.refused_peers.inc();
            if let Some(suppressed) = self.refused_peers.pass() {
                tracing::warn!(
                    uid,
                    pid,
                    suppressed,
                    "refused a connection: its uid is not in listen.peers"
                );
            }
            return;
        }
        let process = Process { uid, pid };
        match self.table.make_room(process) {
            ConnectionAdmission::Made => {}
            ConnectionAdmission::Taken(from) => self.taken(from),
            ConnectionAdmission::Full => {
                if let Some(suppressed) = self.full.pass() {
                    tracing::warn!(uid, pid, suppressed, "refused a connection: all connections are in use");
                }
                return;
            }
        }
        let entry = self.table.entry(process);
        self.next += 1;
        let connection = ConnectionId(self.next);
        let service = ConnectionService {
            service: self.service.clone(),
            connection,
            in_flight: self.in_flight.clone(),
            arrivals: Arrivals {
                connection,
                quota: self.unfinished.clone(),
                budget: self.budget.clone(),
            },
            unfetched: self.unfetched.clone(),
            entry: entry.clone(),
            metrics: self.metrics.clone(),
            lines: self.refused_calls.clone(),
        };
        let draining = self.draining.subscribe();
        let task = self
            .connections
            .spawn(connection::serve(stream, uid, service, self.peers.clone(), draining));
        self.table.insert(task, entry);
        self.count();
    }

    /// Logs that a connection was closed although it had called.
    fn taken(&self, from: Process) {
        let Process { uid, pid } = from;
        if let Some(suppressed) = self.full.pass() {
            tracing::warn!(
                uid,
                pid,
                suppressed,
                "closed a connection of the process that has the most connections, for a connection of another process"
            );
        }
    }

    fn ended(&mut self, ended: Result<(tokio::task::Id, ()), tokio::task::JoinError>) {
        self.table.remove(match ended {
            Ok((id, ())) => id,
            Err(error) => error.id(),
        });
        self.count();
    }

    fn count(&self) {
        self.metrics
            .connections
            .set(i64::try_from(self.table.len()).unwrap_or(i64::MAX));
    }

    /// If the process has no free descriptors, closes a connection, as if all places were taken. Returns whether that
    /// may have helped. If the whole machine has none, it closes nothing: another process would take the freed
    /// descriptor.
    fn make_descriptor(&mut self, error: &io::Error) -> bool {
        if error.raw_os_error() != Some(Errno::MFILE.raw_os_error()) {
            return false;
        }
        // The peer is known only after `accept`.
        let somebody = Process {
            uid: u32::MAX,
            pid: None,
        };
        match self.table.close_one(somebody) {
            ConnectionAdmission::Made => true,
            ConnectionAdmission::Taken(from) => {
                self.taken(from);
                true
            }
            ConnectionAdmission::Full => false,
        }
    }

    async fn failed(&self, error: &io::Error) {
        if let Some(suppressed) = self.failures.pass() {
            tracing::warn!(%error, suppressed, "cannot accept a connection");
        }
        // Without free descriptors, or on a socket that was shut down, the next call would fail at once.
        tokio::time::sleep(PAUSE).await;
    }
}
