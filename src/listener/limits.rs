//! What callers may take, on one connection and all together. Each limit says why it is what it is.
//!
//! Every connection is assured of a little that no other one can take, however many mean harm: what kube-apiserver sends
//! under any circumstances goes on. Behind the services a request goes on under its connection's number, its `Origin`:
//! the envelope's room for calls to root keys assures each origin of as many, and before a token origins take turns.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use crate::proto::asker::Origin;

/// Connections at a time. A kube-apiserver holds one per provider, two during a reload.
pub(super) const SEATS: usize = 64;
/// How long a client may take to send HTTP/2's preface.
pub(super) const PREFACE_TIME: Duration = Duration::from_secs(5);
/// How long the message of a request may take after its headers. gRPC's clients send them together.
pub(super) const MESSAGE_TIME: Duration = Duration::from_secs(5);
/// How long a finished answer may wait to be fetched, at least: a caller that grants no window would keep it for ever.
pub(super) const FETCH_TIME: Duration = Duration::from_secs(5);
/// How long requests in flight may take when the connection is to end: the daemon must be gone within 5 s, and a log
/// that nobody reads takes more than one of them.
pub(super) const DRAIN_TIME: Duration = Duration::from_secs(3);

/// More requests at once than a connection's room, so that those beyond it are told `RESOURCE_EXHAUSTED`.
pub(super) const STREAMS: u32 = 1024;
/// Requests that were cancelled before we looked at them: all streams may be, twice, and that is no attack.
pub(super) const CANCELLED_STREAMS: usize = 2048;
/// A caller's bytes that wait in memory for one request: the largest legal message (35 KiB) needs no second round trip.
pub(super) const STREAM_WINDOW: u32 = 64 << 10;
/// The same for all requests of a connection, before they are looked at; what is read of them has a budget.
pub(super) const CONNECTION_WINDOW: u32 = 1 << 20;
/// kube-apiserver's headers are below 1 KiB. They are kept until the message has come.
pub(super) const HEADER_LIST: u32 = 8 << 10;
/// Answers are below 2 KiB; a caller that does not read them stops at so much for each request.
pub(super) const SEND_BUFFER: usize = 16 << 10;
/// Bytes that a connection may send before the others have their turn: some ten calls, or 80 small frames. A caller that
/// floods gets its share of the time, and no more; one call passes through three turns of all others.
pub(super) const TURN: u64 = 1 << 10;

/// The services' own limit; the largest legal message has 35 KiB.
pub(super) const LONGEST_MESSAGE: usize = 256 << 10;
/// Bytes that unfinished messages hold together: a hundred of the largest legal ones, which nobody sends at once. Without
/// a bound callers that never finish a message of 256 KiB would hold half a gigabyte.
pub(super) const UNFINISHED_BYTES: usize = 4 << 20;
/// Of each unfinished message so many bytes are not counted: kube-apiserver sends less, even in parts, whatever others
/// hold.
pub(super) const ASSURED_BYTES: usize = 2 << 10;

/// How many requests there may be in one state.
#[derive(Clone, Copy, Debug)]
pub(super) struct Requests {
    /// On one connection.
    pub(super) per_connection: usize,
    /// On all connections, beside the assured ones.
    pub(super) shared: usize,
    /// On each connection, whatever the others hold.
    pub(super) assured: usize,
}

/// Requests whose services work on them, or wait for the root key.
pub(super) const IN_FLIGHT: Requests = Requests {
    per_connection: 512,
    shared: 2048,
    assured: Origin::ASSURED,
};
/// Requests whose messages have not come yet. One connection may have all its streams in this state: a client that sends
/// a thousand requests at once may send all headers first.
pub(super) const UNFINISHED: Requests = Requests {
    per_connection: 1024,
    shared: 1024,
    assured: 16,
};

/// Requests whose answers are ready, and have no window to be sent in. kube-apiserver's windows are always open.
pub(super) const UNFETCHED: Requests = Requests {
    per_connection: 1024,
    shared: 1024,
    assured: 64,
};

/// The room for requests in one state, on all connections.
#[derive(Clone, Debug)]
pub(super) struct Room {
    size: Requests,
    shared: Arc<Semaphore>,
}

impl Room {
    pub(super) fn new(size: Requests) -> Self {
        let shared = Arc::new(Semaphore::new(size.shared));
        Self { size, shared }
    }

    /// The part of it that one more connection may use.
    pub(super) fn for_connection(&self) -> ConnectionRoom {
        let Requests {
            per_connection,
            assured,
            ..
        } = self.size;
        ConnectionRoom {
            shared: self.shared.clone(),
            assured: Arc::new(Semaphore::new(assured)),
            more: Arc::new(Semaphore::new(per_connection - assured)),
        }
    }
}

/// The room for requests on one connection.
#[derive(Clone, Debug)]
pub(super) struct ConnectionRoom {
    shared: Arc<Semaphore>,
    assured: Arc<Semaphore>,
    more: Arc<Semaphore>,
}

/// A request's place, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _own: OwnedSemaphorePermit,
    _shared: Option<OwnedSemaphorePermit>,
}

impl ConnectionRoom {
    /// A place for one more request, or `None` at once.
    pub(super) fn enter(&self) -> Option<Permit> {
        if let Ok(own) = self.assured.clone().try_acquire_owned() {
            return Some(Permit {
                _own: own,
                _shared: None,
            });
        }
        Some(Permit {
            _own: self.more.clone().try_acquire_owned().ok()?,
            _shared: Some(self.shared.clone().try_acquire_owned().ok()?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_connection_exceeds_its_room_nor_all_together_theirs_and_each_has_what_it_is_assured_of() {
        let room = Room::new(IN_FLIGHT);
        let connections: Vec<_> = (0..6).map(|_| room.for_connection()).collect();
        let permits: Vec<Vec<_>> = connections
            .iter()
            .map(|connection| std::iter::from_fn(|| connection.enter()).collect())
            .collect();
        let held: Vec<_> = permits.iter().map(Vec::len).collect();
        assert_eq!(held, [512, 512, 512, 512, 16 + 64, 16]);
        drop(permits);
        assert!(connections[4].enter().is_some());
    }
}
