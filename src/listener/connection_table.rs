//! The table of connections, and the choice of the connection to close when the table is full.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use tokio::task::AbortHandle;
use tokio::task::Id;

use crate::listener::limits::CONNECTIONS;

const SILENT: u8 = 0;
const SPOKE: u8 = 1;
const CALLED: u8 = 2;

/// Connections on which it has called that a process keeps in any case. An API server has one for each provider entry,
/// and twice as many while it reloads.
const KEPT: usize = 4;

/// The process at the other end of a connection. If the kernel has no pid for it, for example from another container,
/// all processes of a uid count as one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) uid: u32,
    pub(super) pid: Option<i32>,
}

/// The stage and age of one connection.
#[derive(Debug)]
pub(super) struct ConnectionEntry {
    process: Process,
    stage: AtomicU8,
    /// Logical time of its last call, or of its beginning if it has not called.
    last: AtomicU64,
    clock: Arc<AtomicU64>,
}

impl ConnectionEntry {
    /// The connection sent HTTP/2's preface.
    pub(super) fn spoke(&self) {
        self.stage.fetch_max(SPOKE, Ordering::Relaxed);
    }

    /// The connection sent a request.
    pub(super) fn called(&self) {
        self.stage.fetch_max(CALLED, Ordering::Relaxed);
        self.last
            .store(self.clock.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }
}

/// Whether a new connection has a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ConnectionAdmission {
    /// Yes: there was a free place, or a connection that had never called was closed.
    Made,
    /// Yes: a connection that had called was closed.
    Taken(Process),
    /// No.
    Full,
}

/// All connections.
#[derive(Debug, Default)]
pub(super) struct ConnectionTable {
    connections: HashMap<Id, (AbortHandle, Arc<ConnectionEntry>)>,
    clock: Arc<AtomicU64>,
}

impl ConnectionTable {
    /// A place for one more connection. It counts from [`Self::insert`] on.
    pub(super) fn entry(&mut self, process: Process) -> Arc<ConnectionEntry> {
        Arc::new(ConnectionEntry {
            process,
            stage: AtomicU8::new(SILENT),
            last: AtomicU64::new(self.clock.fetch_add(1, Ordering::Relaxed)),
            clock: self.clock.clone(),
        })
    }

    /// Adds a connection whose task has started.
    pub(super) fn insert(&mut self, task: AbortHandle, entry: Arc<ConnectionEntry>) {
        self.connections.insert(task.id(), (task, entry));
    }

    /// Removes a connection whose task has ended.
    pub(super) fn remove(&mut self, task: Id) {
        self.connections.remove(&task);
    }

    /// The number of connections.
    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Makes room for one more connection of a process, if all places are taken.
    pub(super) fn make_room(&mut self, newcomer: Process) -> ConnectionAdmission {
        if self.connections.len() < CONNECTIONS {
            return ConnectionAdmission::Made;
        }
        self.close_one(newcomer)
    }

    /// Closes a connection of the process that has the most: the oldest of those that have sent nothing, else the
    /// oldest of those that have sent only the preface or parts of headers, else the one that has not called for the
    /// longest time. A connection that has called is closed only if its process has more than [`KEPT`], and more than
    /// the newcomer's process, including the new connection. So no process can keep others out, nor displace them.
    pub(super) fn close_one(&mut self, newcomer: Process) -> ConnectionAdmission {
        let mut counts = HashMap::from([(newcomer, 1_usize)]);
        for (_, entry) in self.connections.values() {
            *counts.entry(entry.process).or_default() += 1;
        }
        let of = |process| counts.get(process).copied().unwrap_or_default();
        let wanted = of(&newcomer);
        let victim = self
            .connections
            .iter()
            .map(|(id, (task, entry))| {
                let (stage, last) = (entry.stage.load(Ordering::Relaxed), entry.last.load(Ordering::Relaxed));
                (Reverse(of(&entry.process)), stage, last, *id, task, entry.process)
            })
            .filter(|(Reverse(count), stage, ..)| {
                if *stage < CALLED {
                    *count >= wanted
                } else {
                    *count > wanted.max(KEPT)
                }
            })
            .min_by_key(|(count, stage, last, ..)| (*count, *stage, *last))
            .map(|(_, stage, _, id, task, process)| {
                task.abort();
                (id, stage, process)
            });
        let Some((id, stage, process)) = victim else {
            return ConnectionAdmission::Full;
        };
        self.connections.remove(&id);
        if stage < CALLED {
            ConnectionAdmission::Made
        } else {
            ConnectionAdmission::Taken(process)
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::task::JoinHandle;

    use super::*;

    const ONE: Process = Process { uid: 0, pid: Some(1) };
    const OTHER: Process = Process { uid: 0, pid: Some(2) };

    fn connect(table: &mut ConnectionTable, process: Process) -> (Arc<ConnectionEntry>, JoinHandle<()>) {
        let entry = table.entry(process);
        let task = tokio::spawn(std::future::pending::<()>());
        table.insert(task.abort_handle(), entry.clone());
        (entry, task)
    }

    async fn is_closed(task: JoinHandle<()>) -> bool {
        tokio::task::yield_now().await;
        task.is_finished()
    }

    #[tokio::test]
    async fn the_silent_make_room_before_those_who_never_called_and_callers_stay() {
        let mut table = ConnectionTable::default();
        let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| connect(&mut table, ONE)).collect();
        for (entry, _) in &connections[2..] {
            entry.called();
        }
        connections[0].0.spoke();
        assert_eq!(table.make_room(ONE), ConnectionAdmission::Made);
        assert!((&mut connections[1].1).await.unwrap_err().is_cancelled());
        assert!(!connections[0].1.is_finished());
        let (newcomer, _task) = connect(&mut table, ONE);
        newcomer.called();
        assert_eq!(table.make_room(ONE), ConnectionAdmission::Made);
        assert!((&mut connections[0].1).await.unwrap_err().is_cancelled());
        let (newcomer, _task) = connect(&mut table, ONE);
        newcomer.called();
        assert_eq!(table.make_room(ONE), ConnectionAdmission::Full);
        assert_eq!(table.len(), CONNECTIONS);
    }

    #[tokio::test]
    async fn a_process_that_has_called_on_every_connection_cannot_keep_another_one_out() {
        let mut table = ConnectionTable::default();
        let mut many: Vec<_> = (0..CONNECTIONS).map(|_| connect(&mut table, ONE)).collect();
        for (entry, _) in &many {
            entry.called();
        }
        many[0].0.called();
        assert_eq!(table.make_room(OTHER), ConnectionAdmission::Taken(ONE));
        assert!(
            is_closed(many.remove(1).1).await,
            "it has not called for the longest time"
        );
        let (_newcomer, task) = connect(&mut table, OTHER);
        // It also keeps a connection that has not called yet.
        for _ in 0..10 {
            assert_eq!(table.make_room(ONE), ConnectionAdmission::Full);
        }
        assert!(!is_closed(task).await);
    }

    #[tokio::test]
    async fn a_process_of_few_connections_keeps_them_however_many_others_come() {
        let mut table = ConnectionTable::default();
        let process = |pid| Process { uid: 0, pid: Some(pid) };
        let mut few: Vec<_> = (0..KEPT).map(|_| connect(&mut table, ONE)).collect();
        for pid in 10..74 - i32::try_from(KEPT).unwrap() {
            few.push(connect(&mut table, process(pid)));
        }
        assert_eq!(table.len(), CONNECTIONS);
        for (entry, _) in &few {
            entry.called();
        }
        for pid in 100..200 {
            assert_eq!(table.make_room(process(pid)), ConnectionAdmission::Full);
        }
        for (_, task) in few {
            assert!(!is_closed(task).await);
        }
    }

    #[tokio::test]
    async fn who_floods_with_silent_connections_pushes_only_those_out() {
        let mut table = ConnectionTable::default();
        let (_few, task) = connect(&mut table, OTHER);
        for _ in 1..CONNECTIONS {
            connect(&mut table, ONE);
        }
        for _ in 0..CONNECTIONS * 2 {
            assert_eq!(table.make_room(ONE), ConnectionAdmission::Made);
            connect(&mut table, ONE);
        }
        assert!(!is_closed(task).await);
    }
}
