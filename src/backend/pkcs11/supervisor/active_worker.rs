//! A worker that serves, and the calls that it has begun.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::spawner::WorkerNumber;
use crate::backend::pkcs11::supervisor::call_queue::Request;
use crate::backend::pkcs11::supervisor::handshake::Opened;
use crate::backend::pkcs11::supervisor::link::Heard;
use crate::backend::pkcs11::supervisor::link::Link;

/// The most calls that a worker may have begun, including those that it has paused.
const MOST: usize = 1024;
/// The factor of the time limit for making a key.
const KEY_MAKING: u32 = 6;

/// A worker that serves.
#[derive(Debug)]
pub(super) struct ActiveWorker {
    pub(super) worker: WorkerNumber,
    link: Link,
    begun: BTreeMap<u64, Begun>,
    next: u64,
    pace: Pace,
    /// The worker as a whole pauses until then, so no call is begun.
    holds_until: Option<Instant>,
    /// With more memory than this it is too large.
    too_much: u64,
}

#[derive(Debug)]
struct Begun {
    request: Request,
    /// The start of its current or last use of a session.
    since: Instant,
    /// The worker has paused this call until then, and its session is free for others.
    waits: Option<Instant>,
    /// Its time limit.
    limit: Duration,
    /// Its deadline.
    until: Instant,
}

impl Begun {
    /// Whether it occupies a session.
    fn is_busy(&self, now: Instant) -> bool {
        self.waits.is_none_or(|until| until <= now)
    }
}

/// The recent duration of unwraps, which callers wait for. Other calls do not count: a wrap may include a trial of
/// mechanisms, and a list many objects.
#[derive(Debug, Default)]
struct Pace(Option<Duration>);

impl Pace {
    fn take(&mut self, begun: &Begun, now: Instant) {
        if begun.is_busy(now) && matches!(begun.request.call, Call::Unwrap { .. }) {
            let time = now.saturating_duration_since(begun.since);
            self.0 = Some(self.0.map_or(time, |pace| (pace * 3 + time) / 4));
        }
    }
}

/// The most concurrent calls of a worker, and its limit of memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    pub(super) sessions: usize,
    pub(super) memory: u64,
    pub(super) call_timeout: Duration,
}

impl ActiveWorker {
    pub(super) fn new(opened: Opened, limits: Limits, heard: mpsc::Sender<(WorkerNumber, Heard)>) -> Self {
        let Opened {
            worker,
            channel,
            memory,
            warnings: _,
        } = opened;
        Self {
            worker,
            link: Link::new(worker, channel, MOST, heard),
            begun: BTreeMap::new(),
            next: 1,
            pace: Pace::default(),
            holds_until: None,
            // A module that is large from the start must not be replaced again and again.
            too_much: (limits.memory / 2).max(memory.saturating_add(limits.memory / 4)),
        }
    }

    /// Whether it could begin another call.
    pub(super) fn is_free(&self, limits: Limits) -> bool {
        let now = Instant::now();
        let busy = self.begun.values().filter(|begun| begun.is_busy(now)).count();
        self.held_until(now).is_none() && busy < limits.sessions && self.begun.len() < MOST
    }

    /// Until when no call is begun, because the worker as a whole pauses.
    pub(super) fn held_until(&self, now: Instant) -> Option<Instant> {
        self.holds_until.filter(|until| *until > now)
    }

    /// When a call would begin after `calls` others, if they take as long as recent ones did. Those in progress count
    /// as half done.
    pub(super) fn begins_behind(&self, calls: usize, limits: Limits) -> Instant {
        let now = Instant::now();
        let free_from = self.held_until(now).unwrap_or(now);
        if calls == 0 && self.is_free(limits) {
            return now;
        }
        let busy = self.begun.values().filter(|begun| begun.is_busy(now)).count();
        let halves = u32::try_from(calls.saturating_mul(2) + busy).unwrap_or(u32::MAX);
        let sessions = u32::try_from(limits.sessions).unwrap_or(u32::MAX);
        free_from + self.pace.0.unwrap_or_default().saturating_mul(halves) / sessions / 2
    }

    /// Gives more time to the calls that the worker has paused on purpose.
    pub(super) fn extend_deadline(&mut self, of: Paused, pause: Duration) {
        match of {
            Paused::Call(number) => self.pause(number, pause),
            Paused::All | Paused::FirstLogin => self.pause_all(pause),
        }
    }

    /// The time limit of the call restarts after the pause.
    fn pause(&mut self, number: u64, pause: Duration) {
        let now = Instant::now();
        if let Some(begun) = self.begun.get_mut(&number) {
            let end = now + pause;
            begun.until = end + begun.limit;
            // A sign between two steps of a call that goes on is no end of it: its pace is that of the whole.
            if pause.is_zero() && begun.is_busy(now) {
                return;
            }
            self.pace.take(begun, now);
            begun.since = end;
            begun.waits = Some(end);
        }
    }

    /// Time limits do not run until the end of the pause. The last report counts, so that it can end a pause.
    fn pause_all(&mut self, pause: Duration) {
        let end = Instant::now() + pause;
        self.holds_until = Some(end);
        for begun in self.begun.values_mut() {
            begun.since = end;
            begun.until = begun.waits.map_or(end, |waits| waits.max(end)) + begun.limit;
        }
    }

    /// Whether it has begun no calls.
    pub(super) fn is_idle(&self) -> bool {
        self.begun.is_empty()
    }

    /// Whether it is so large that another worker should replace it.
    pub(super) fn is_too_large(&self, memory: u64) -> bool {
        memory > self.too_much
    }

    /// Begins a call: its time limit starts now.
    pub(super) fn begin(&mut self, request: Request, limits: Limits) {
        let number = self.next;
        self.next += 1;
        request.begin();
        self.link.send(number, &request.call);
        // Devices take long to make a key, above all RSA, and a human at a terminal waits for it.
        let limit = limits.call_timeout * if request.call.makes_a_key() { KEY_MAKING } else { 1 };
        let since = Instant::now();
        let begun = Begun {
            request,
            since,
            waits: None,
            limit,
            until: since + limit,
        };
        self.begun.insert(number, begun);
    }

    /// The call of this number has ended.
    pub(super) fn done(&mut self, number: u64) -> Option<Request> {
        let begun = self.begun.remove(&number)?;
        self.pace.take(&begun, Instant::now());
        Some(begun.request)
    }

    /// The earliest deadline of a call.
    pub(super) fn until(&self) -> Option<Instant> {
        self.begun.values().map(|begun| begun.until).min()
    }

    /// The calls beyond their deadline, with the time limit of each.
    pub(super) fn take_overdue(&mut self, now: Instant) -> Vec<(Request, Duration)> {
        let (overdue, begun): (BTreeMap<_, _>, BTreeMap<_, _>) = std::mem::take(&mut self.begun)
            .into_iter()
            .partition(|(_, begun)| begun.until <= now);
        self.begun = begun;
        overdue
            .into_values()
            .map(|begun| (begun.request, begun.limit))
            .collect()
    }

    /// Closes the channel. Returns the calls that were begun, in their order.
    pub(super) fn leave(self) -> Vec<Request> {
        self.begun.into_values().map(|begun| begun.request).collect()
    }
}
