//! The places for connections, and who must leave when they are all taken.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

use tokio::task::AbortHandle;
use tokio::task::Id;

/// Connections at a time. A kube-apiserver holds one per provider, two during a reload.
pub(super) const SEATS: usize = 64;

const SILENT: u8 = 0;
const SPOKE: u8 = 1;
const CALLED: u8 = 2;

/// How far one connection has come.
#[derive(Debug)]
pub(super) struct Seat {
    number: u64,
    stage: AtomicU8,
}

impl Seat {
    /// The connection sent HTTP/2's preface.
    pub(super) fn spoke(&self) {
        self.stage.fetch_max(SPOKE, Ordering::Relaxed);
    }

    /// The connection sent a request.
    pub(super) fn called(&self) {
        self.stage.fetch_max(CALLED, Ordering::Relaxed);
    }
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct Seats {
    taken: HashMap<Id, (AbortHandle, Arc<Seat>)>,
    next: u64,
}

impl Seats {
    /// A place for one more connection, which counts once it is [`Self::sit`]ting.
    pub(super) fn offer(&mut self) -> Arc<Seat> {
        self.next += 1;
        Arc::new(Seat {
            number: self.next,
            stage: AtomicU8::new(SILENT),
        })
    }

    /// The connection's task runs.
    pub(super) fn sit(&mut self, task: AbortHandle, seat: Arc<Seat>) {
        self.taken.insert(task.id(), (task, seat));
    }

    /// The connection's task ended.
    pub(super) fn leave(&mut self, task: Id) {
        self.taken.remove(&task);
    }

    /// How many connections there are.
    pub(super) fn taken(&self) -> usize {
        self.taken.len()
    }

    /// Makes room for a newcomer: the oldest of those who sent nothing goes, else the oldest of those who sent only
    /// the preface or drip headers. `false` if all have called: the newcomer must go.
    pub(super) fn make_room(&mut self) -> bool {
        if self.taken.len() < SEATS {
            return true;
        }
        let oldest = self
            .taken
            .iter()
            .map(|(id, (task, seat))| (seat.stage.load(Ordering::Relaxed), seat.number, *id, task))
            .filter(|(stage, ..)| *stage < CALLED)
            .min_by_key(|(stage, number, ..)| (*stage, *number))
            .map(|(_, _, id, task)| {
                task.abort();
                id
            });
        match oldest {
            Some(id) => self.taken.remove(&id).is_some(),
            None => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_silent_make_room_before_those_who_never_called_and_callers_stay() {
        let mut seats = Seats::default();
        let sit = |seats: &mut Seats| {
            let seat = seats.offer();
            let task = tokio::spawn(std::future::pending::<()>());
            seats.sit(task.abort_handle(), seat.clone());
            (seat, task)
        };
        let mut connections: Vec<_> = (0..SEATS).map(|_| sit(&mut seats)).collect();
        for (seat, _) in &connections[2..] {
            seat.called();
        }
        connections[0].0.spoke();
        assert!(seats.make_room());
        assert!((&mut connections[1].1).await.unwrap_err().is_cancelled());
        assert!(!connections[0].1.is_finished());
        let (newcomer, _task) = sit(&mut seats);
        newcomer.called();
        assert!(seats.make_room());
        assert!((&mut connections[0].1).await.unwrap_err().is_cancelled());
        let (newcomer, _task) = sit(&mut seats);
        newcomer.called();
        assert!(!seats.make_room());
        assert_eq!(seats.taken(), SEATS);
    }
}
