//! A limit on concurrent calls to root keys, with a guaranteed share for each connection.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::caller::ConnectionId;

/// At most this many calls to root keys run for callers at a time; more are refused.
const MOST_CALLS: usize = 1024;
/// At most this many of them for one connection. It equals the listener's limit of requests for each connection, so a
/// kube-apiserver that starts and reads under hundreds of data keys is not refused here. Calls whose connection has
/// closed meanwhile count too.
const SHARE: usize = MOST_CALLS / 2;

/// The limit for one kind of call. Clones share it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Room(Arc<Mutex<Taken>>);

#[derive(Debug, Default)]
struct Taken {
    all: usize,
    /// Only connections with at least one call have an entry.
    by_connection: HashMap<ConnectionId, usize>,
}

/// Permission for one call, returned when this is dropped.
#[derive(Debug)]
pub(crate) struct Permit {
    room: Room,
    connection: Option<ConnectionId>,
}

impl Room {
    /// Admits one more call, or returns `None` at once. A connection's guaranteed share is not taken from the pool.
    pub(crate) fn enter(&self, connection: Option<ConnectionId>) -> Option<Permit> {
        let mut taken = self.lock();
        let own = connection
            .and_then(|connection| taken.by_connection.get(&connection))
            .copied()
            .unwrap_or(0);
        let assured = connection.is_some() && own < ConnectionId::ASSURED;
        if !assured && (taken.all >= MOST_CALLS || own >= SHARE) {
            return None;
        }
        taken.all += 1;
        if let Some(connection) = connection {
            taken.by_connection.insert(connection, own + 1);
        }
        drop(taken);
        let room = self.clone();
        Some(Permit { room, connection })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        let Self(taken) = self;
        taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.all = taken.all.saturating_sub(1);
        let Some(connection) = self.connection else {
            return;
        };
        match taken.by_connection.get_mut(&connection) {
            Some(own) if *own > 1 => *own -= 1,
            _ => drop(taken.by_connection.remove(&connection)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_origin_takes_all_and_each_has_what_it_is_assured_of() {
        let room = Room::default();
        let permits: Vec<Vec<_>> = (0..4)
            .map(|connection| std::iter::from_fn(|| room.enter(Some(ConnectionId(connection)))).collect())
            .collect();
        let held: Vec<_> = permits.iter().map(Vec::len).collect();
        assert_eq!(held, [512, 512, 16, 16]);
        assert!(room.enter(None).is_none());
        drop(permits);
        let Taken { all, by_connection } = &*room.lock();
        assert!(*all == 0 && by_connection.is_empty());
    }
}
