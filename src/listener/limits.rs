//! How many requests are in flight, on one connection and in all.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

/// Requests in flight on one connection.
pub(super) const PER_CONNECTION: usize = 512;
/// Requests in flight on all connections.
pub(super) const IN_ALL: usize = 2048;

/// The room for requests on all connections.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<Semaphore>);

impl Room {
    pub(super) fn new() -> Self {
        Self(Arc::new(Semaphore::new(IN_ALL)))
    }

    /// The part of it that one more connection may use.
    pub(super) fn for_connection(&self) -> ConnectionRoom {
        ConnectionRoom {
            all: self.0.clone(),
            own: Arc::new(Semaphore::new(PER_CONNECTION)),
        }
    }
}

/// The room for requests on one connection.
#[derive(Clone, Debug)]
pub(super) struct ConnectionRoom {
    all: Arc<Semaphore>,
    own: Arc<Semaphore>,
}

/// A request's place, given back when this is dropped.
#[derive(Debug)]
pub(super) struct Permit {
    _own: OwnedSemaphorePermit,
    _all: OwnedSemaphorePermit,
}

impl ConnectionRoom {
    /// A place for one more request, or `None` at once.
    pub(super) fn enter(&self) -> Option<Permit> {
        Some(Permit {
            _own: self.own.clone().try_acquire_owned().ok()?,
            _all: self.all.clone().try_acquire_owned().ok()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_a_connection_nor_all_together_exceed_their_room() {
        let room = Room::new();
        let connections: Vec<_> = (0..5).map(|_| room.for_connection()).collect();
        let permits: Vec<Vec<_>> = connections
            .iter()
            .map(|connection| std::iter::from_fn(|| connection.enter()).collect())
            .collect();
        let held: Vec<_> = permits.iter().map(Vec::len).collect();
        assert_eq!(held, [512, 512, 512, 512, 0]);
        drop(permits);
        assert!(connections[4].enter().is_some());
    }
}
