//! A limit on places that connections take, with a guaranteed share for each and a pool for the rest.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::caller::ConnectionId;

/// The guaranteed calls of each connection at every limit from the listener to the token, so that a call within the
/// share is refused at none of them. The share covers the calls of a kube-apiserver in every situation.
pub const ASSURED_CALLS: usize = 16;

/// The parameters of a quota.
#[derive(Clone, Copy, Debug)]
pub struct QuotaSize {
    /// The most places of one connection.
    pub per_connection: usize,
    /// The places that each connection can take even if the pool is used up.
    pub assured: usize,
    /// The places that all connections share.
    pub pool: Pool,
}

/// The number of places in the pool, and which places count.
#[derive(Clone, Copy, Debug)]
pub enum Pool {
    /// Guaranteed places do not count.
    BesideAssured(usize),
    /// All places count. Guaranteed places can exceed the number.
    WithAssured(usize),
}

/// The places that are taken. Clones share them.
#[derive(Clone, Debug)]
pub struct Quota(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    size: QuotaSize,
    taken: Mutex<Taken>,
}

#[derive(Debug, Default)]
struct Taken {
    /// The places that count in the pool.
    from_pool: usize,
    /// Only connections with at least one place have an entry. The map keeps its capacity, so that a connection's first
    /// place costs no allocation.
    by_connection: HashMap<ConnectionId, usize>,
}

/// One place, given back when this is dropped.
#[derive(Debug)]
pub struct Permit {
    quota: Quota,
    connection: Option<ConnectionId>,
}

impl Quota {
    /// A quota without taken places.
    pub fn new(size: QuotaSize) -> Self {
        let taken = Mutex::default();
        Self(Arc::new(Inner { size, taken }))
    }

    /// Takes one more place, or returns `None` if the quota is used up. Never waits. A caller without a connection has
    /// no guaranteed share, and no limit but the pool.
    pub fn enter(&self, connection: Option<ConnectionId>) -> Option<Permit> {
        let size = &self.0.size;
        let mut taken = self.lock();
        let own = connection.map(|connection| taken.by_connection.get(&connection).copied().unwrap_or(0));
        let is_assured = size.assures(own);
        let is_used_up = taken.from_pool >= size.pool.places() || own.is_some_and(|own| own >= size.per_connection);
        if is_used_up && !is_assured {
            return None;
        }
        taken.from_pool += size.pool.count(is_assured);
        if let Some(connection) = connection {
            *taken.by_connection.entry(connection).or_default() += 1;
        }
        drop(taken);
        let quota = self.clone();
        Some(Permit { quota, connection })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.0.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let size = &self.quota.0.size;
        let mut taken = self.quota.lock();
        let mut others = None;
        if let Some(connection) = self.connection
            && let Some(own) = taken.by_connection.get_mut(&connection)
        {
            *own -= 1;
            others = Some(*own);
            if *own == 0 {
                taken.by_connection.remove(&connection);
            }
        }
        taken.from_pool = taken.from_pool.saturating_sub(size.pool.count(size.assures(others)));
    }
}

impl QuotaSize {
    /// Whether the share of a connection covers one more place, beside `own` others.
    fn assures(&self, own: Option<usize>) -> bool {
        own.is_some_and(|own| own < self.assured)
    }
}

impl Pool {
    fn places(self) -> usize {
        match self {
            Self::BesideAssured(places) | Self::WithAssured(places) => places,
        }
    }

    /// How many places of the pool one place takes.
    fn count(self, is_assured: bool) -> usize {
        match self {
            Self::BesideAssured(_) if is_assured => 0,
            Self::BesideAssured(_) | Self::WithAssured(_) => 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(quota: &Quota, connection: Option<u64>) -> Vec<Permit> {
        std::iter::from_fn(|| quota.enter(connection.map(ConnectionId))).collect()
    }

    #[test]
    fn each_connection_has_its_share_and_all_others_come_from_the_pool() {
        for (pool, expected) in [
            (Pool::BesideAssured(8), [10, 3 + 1, 3, 0]),
            (Pool::WithAssured(11), [10, 3, 3, 0]),
        ] {
            let quota = Quota::new(QuotaSize {
                per_connection: 10,
                assured: 3,
                pool,
            });
            let permits = [Some(1), Some(2), Some(3), None].map(|connection| places(&quota, connection));
            assert_eq!(permits.each_ref().map(Vec::len), expected, "{pool:?}");
            drop(permits);
            let Taken {
                from_pool,
                by_connection,
            } = &*quota.lock();
            assert!(*from_pool == 0 && by_connection.is_empty(), "{pool:?}");
        }
    }

    #[test]
    fn a_place_that_is_given_back_can_be_taken_again() {
        let quota = Quota::new(QuotaSize {
            per_connection: 10,
            assured: 3,
            pool: Pool::BesideAssured(8),
        });
        let mut first = places(&quota, Some(1));
        let _second = places(&quota, Some(2));
        // Whichever place a connection gives back, its share covers the first of those that it keeps.
        first.remove(0);
        assert!(
            quota
                .enter(None)
                .is_some_and(|_permit| quota.enter(Some(ConnectionId(2))).is_none())
        );
        assert!(quota.enter(Some(ConnectionId(1))).is_some());
    }
}
