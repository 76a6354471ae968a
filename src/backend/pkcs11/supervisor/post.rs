//! A worker that serves, with the calls that it has begun.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::backend::pkcs11::spawner::WorkerNumber;
use crate::backend::pkcs11::supervisor::link::Heard;
use crate::backend::pkcs11::supervisor::link::Link;
use crate::backend::pkcs11::supervisor::open::Opened;
use crate::backend::pkcs11::supervisor::queue::Request;

/// Calls that a worker may have begun at once, those included that wait of its own will.
const MOST: usize = 1024;
/// Making a key may take so many times as long as another call.
const KEY_MAKING: u32 = 6;

/// A worker at its work.
#[derive(Debug)]
pub(super) struct Post {
    pub(super) worker: WorkerNumber,
    link: Link,
    begun: BTreeMap<u64, Begun>,
    next: u64,
    /// From here on it has too much memory.
    too_much: u64,
}

#[derive(Debug)]
struct Begun {
    request: Request,
    /// Until then the worker waits of its own will, with its hands free for others.
    waits: Option<Instant>,
    /// Then it has taken too long.
    until: Instant,
}

/// How many calls a worker makes at once, and how large it may grow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) sessions: usize,
    pub(super) memory: u64,
    pub(super) call_timeout: Duration,
}

impl Post {
    pub(super) fn new(opened: Opened, limits: Limits, heard: mpsc::Sender<(WorkerNumber, Heard)>) -> Self {
        let Opened {
            worker,
            channel,
            memory,
        } = opened;
        Self {
            worker,
            link: Link::new(worker, channel, MOST, heard),
            begun: BTreeMap::new(),
            next: 1,
            // A module that is large from the beginning is not replaced for it again and again.
            too_much: (limits.memory / 2).max(memory.saturating_add(limits.memory / 4)),
        }
    }

    /// Whether it could begin another call.
    pub(super) fn is_free(&self, limits: Limits) -> bool {
        let now = Instant::now();
        let busy = |begun: &&Begun| begun.waits.is_none_or(|until| until <= now);
        self.begun.values().filter(busy).count() < limits.sessions && self.begun.len() < MOST
    }

    /// The worker waits with a call before it goes on: the time of the call begins then.
    pub(super) fn wait(&mut self, number: u64, pause: Duration, limits: Limits) {
        if let Some(begun) = self.begun.get_mut(&number) {
            let end = Instant::now() + pause;
            begun.waits = Some(end);
            begun.until = end + limits.call_timeout;
        }
    }

    /// Whether it has begun no call.
    pub(super) fn is_idle(&self) -> bool {
        self.begun.is_empty()
    }

    /// Whether it has grown so much that another one should go on.
    pub(super) fn is_too_large(&self, memory: u64) -> bool {
        memory > self.too_much
    }

    /// Begins a call: its time counts from here.
    pub(super) fn begin(&mut self, request: Request, limits: Limits) {
        let number = self.next;
        self.next += 1;
        self.link.send(request.call.to_wire(number));
        // Devices take their time to make a key, RSA above all, and somebody at a terminal waits for it.
        let limit = limits.call_timeout * if request.call.makes_a_key() { KEY_MAKING } else { 1 };
        let until = Instant::now() + limit;
        let waits = None;
        self.begun.insert(number, Begun { request, waits, until });
    }

    /// The call of this number is done.
    pub(super) fn done(&mut self, number: u64) -> Option<Request> {
        self.begun.remove(&number).map(|begun| begun.request)
    }

    /// When a call will have taken too long.
    pub(super) fn until(&self) -> Option<Instant> {
        self.begun.values().map(|begun| begun.until).min()
    }

    /// The calls that have taken too long.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<Request> {
        let (overdue, begun): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.begun)
            .into_iter()
            .partition(|(_, begun)| begun.until <= now);
        self.begun = begun;
        overdue.into_values().map(|begun| begun.request).collect()
    }

    /// Closes the channel. Returns the calls that were begun, in their order.
    pub(super) fn leave(self) -> Vec<Request> {
        self.begun.into_values().map(|begun| begun.request).collect()
    }
}
