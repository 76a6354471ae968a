//! The task that decides which worker serves, and when another one starts.

mod successor;
mod worker_events;

use std::fmt;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::backend::pkcs11::first_login::FirstLogin;
use crate::backend::pkcs11::spawner::WorkerNumber;
use crate::backend::pkcs11::supervisor::GRACE;
use crate::backend::pkcs11::supervisor::StartWorkers;
use crate::backend::pkcs11::supervisor::active_worker::ActiveWorker;
use crate::backend::pkcs11::supervisor::active_worker::Limits;
use crate::backend::pkcs11::supervisor::call_queue::CallQueue;
use crate::backend::pkcs11::supervisor::call_queue::Request;
use crate::backend::pkcs11::supervisor::call_queue::too_late;
use crate::backend::pkcs11::supervisor::handshake::NotOpened;
use crate::backend::pkcs11::supervisor::handshake::Opened;
use crate::backend::pkcs11::supervisor::handshake::open;
use crate::backend::pkcs11::supervisor::journal::Journal;
use crate::backend::pkcs11::supervisor::journal::Reason;
use crate::backend::pkcs11::supervisor::link::Heard;
use crate::backend::pkcs11::supervisor::supervise::successor::Change;
use crate::backend::pkcs11::supervisor::supervise::successor::Successor;
use crate::root_key::error::Error;
use crate::telemetry::metrics::Metrics;
use crate::token::assignment::Assignment;
use crate::token::assignment::Role;
use crate::token::problem::Failure;

/// The most messages from workers that wait here; beyond that the workers wait.
const HEARD: usize = 16;

/// The state of a worker after a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FailedWorker {
    /// It has failed in one call, and continues.
    Serves,
    /// It has ended, or could not start.
    Gone,
}

/// The state of the task.
pub(super) struct Supervision {
    workers: Arc<dyn StartWorkers>,
    assignment: Arc<Assignment>,
    limits: Limits,
    journal: Journal,
    requests: mpsc::Receiver<Request>,
    queue: CallQueue,
    /// Gets every new call.
    current: Option<ActiveWorker>,
    /// Workers that were replaced and finish the calls that they have begun.
    retiring: Vec<ActiveWorker>,
    /// Workers without calls, each with the deadline for its end.
    leaving: Vec<(Instant, WorkerNumber)>,
    successor: Successor,
    /// The error of a rejected PIN, which is not tried again for each call.
    rejected: Option<Error>,
    heard: mpsc::Receiver<(WorkerNumber, Heard)>,
    hear: mpsc::Sender<(WorkerNumber, Heard)>,
}

impl Supervision {
    pub(super) fn new(
        workers: Box<dyn StartWorkers>,
        assignment: Assignment,
        metrics: Metrics,
        first_login: FirstLogin,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        let limits = Limits {
            sessions: assignment.options.concurrent_calls(),
            memory: assignment.memory,
            call_timeout: assignment.options.call_timeout,
        };
        let (hear, heard) = mpsc::channel(HEARD);
        Self {
            workers: workers.into(),
            journal: Journal::new(assignment.root_key.clone(), metrics, first_login),
            assignment: Arc::new(assignment),
            limits,
            requests,
            queue: CallQueue::default(),
            current: None,
            retiring: Vec::new(),
            leaving: Vec::new(),
            successor: Successor::new(Instant::now()),
            rejected: None,
            heard,
            hear,
        }
    }

    /// Runs until no caller is left. The remaining workers then find their channels closed.
    pub(super) async fn run(mut self) {
        loop {
            self.begin_calls();
            let due = self.due();
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.take(request),
                    None => return,
                },
                Some((worker, heard)) = self.heard.recv() => self.hear(worker, heard),
                (reason, opened) = self.successor.opened() => self.opened(reason, opened),
                () = sleep_until(due) => self.act(Instant::now()),
            }
        }
    }

    /// Takes a call. One that was given up on the way costs nothing more: a storm of them must not delay others.
    fn take(&mut self, request: Request) {
        if !request.is_waited_for() {
            return;
        }
        match &self.rejected {
            Some(error) if self.current.is_none() => request.answer(Err(error.clone())),
            _ if self.would_begin_too_late(&request) => request.answer(Err(too_late())),
            _ => self.queue.push(request),
        }
    }

    /// Whether its waiters would give up before its turn, at the recent duration of calls. Without a serving worker
    /// this is unknown: the next worker, or its error, may arrive at any time.
    fn would_begin_too_late(&self, request: &Request) -> bool {
        let (Some(until), Some(active)) = (request.until(), &self.current) else {
            return false;
        };
        let is_late = |before| active.begins_behind(before, self.limits) > until;
        is_late(self.queue.len()) && is_late(self.queue.before(request))
    }

    fn begin_calls(&mut self) {
        let Some(active) = &mut self.current else {
            return;
        };
        while active.is_free(self.limits) {
            match self.queue.next() {
                Some(request) => active.begin(request, self.limits),
                None => return,
            }
        }
    }

    /// When the next action is due.
    fn due(&self) -> Option<Instant> {
        let attempt = self.next_attempt().map(|(at, _)| at);
        let calls = self.active_workers().filter_map(ActiveWorker::until);
        let leaving = self.leaving.iter().map(|(until, _)| *until);
        // Only to wake up: then all calls that may begin do.
        let held = self
            .current
            .as_ref()
            .and_then(|active| active.held_until(Instant::now()));
        calls.chain(leaving).chain(attempt).chain(held).min()
    }

    /// When the next worker is to be started, and why.
    fn next_attempt(&self) -> Option<(Instant, Reason)> {
        let waited_for = self.current.is_none() && self.queue.is_waited_for();
        self.successor.due(waited_for).filter(|_| self.has_room())
    }

    fn active_workers(&self) -> impl Iterator<Item = &ActiveWorker> {
        self.current.iter().chain(&self.retiring)
    }

    fn active_worker(&mut self, worker: WorkerNumber) -> Option<&mut ActiveWorker> {
        let mut active = self.current.iter_mut().chain(&mut self.retiring);
        active.find(|active| active.worker == worker)
    }

    /// Takes the actions that are due.
    fn act(&mut self, now: Instant) {
        let over: Vec<_> = self.leaving.extract_if(.., |(until, _)| *until <= now).collect();
        for (_, worker) in over {
            self.kill(worker, now);
        }
        let hung: Vec<_> = self
            .active_workers()
            .filter(|active| active.until().is_some_and(|until| until <= now))
            .map(|active| active.worker)
            .collect();
        for worker in hung {
            self.hung(worker, now);
        }
        if let Some((at, reason)) = self.next_attempt()
            && at <= now
        {
            self.make_room(now);
            self.journal.starting(reason);
            let (workers, assignment) = (self.workers.clone(), self.assignment.clone());
            let attempt = open(workers, assignment, self.journal.events().clone());
            self.successor.change(Change::Begun(Box::pin(attempt)));
        }
    }

    /// Whether a worker may be started: the spawner refuses a third one. While two workers finish their calls, the next
    /// one waits.
    fn has_room(&self) -> bool {
        self.active_workers().count() < 2
    }

    /// Ends other workers until at most one is left. Those that leave have had the time since the last attempt.
    fn make_room(&mut self, now: Instant) {
        let may_leave = usize::from(self.active_workers().count() == 0);
        let surplus = self.leaving.len().saturating_sub(may_leave);
        let over: Vec<_> = self.leaving.drain(..surplus).collect();
        for (_, worker) in over {
            self.kill(worker, now);
        }
    }

    /// The start of a worker has succeeded or failed.
    fn opened(&mut self, reason: Reason, opened: Result<Opened, NotOpened>) {
        let now = Instant::now();
        match opened {
            Ok(mut opened) => {
                self.successor.change(Change::Opened);
                self.rejected = None;
                self.journal.warned(std::mem::take(&mut opened.warnings));
                self.journal.opened(reason, opened.memory);
                let active = ActiveWorker::new(opened, self.limits, self.hear.clone());
                self.retiring.extend(self.current.replace(active));
                self.dismiss_idle(now);
            }
            Err(NotOpened { failure, worker, hangs }) => {
                self.successor.change(Change::NotOpened(now));
                if let Some(worker) = worker {
                    self.leaving.push((if hangs { now } else { now + GRACE }, worker));
                }
                self.journal.not_opened(&failure, self.workers.printed().as_deref());
                self.note_pin(&failure, FailedWorker::Gone, now);
                self.answer_queued(&failure.error);
            }
        }
    }

    /// Fails all queued calls, unless a worker is still serving.
    fn answer_queued(&mut self, error: &Error) {
        if self.current.is_none() {
            self.queue.answer_all(error);
        }
    }

    /// Updates whether a rejected PIN is the reason that no worker serves.
    fn note_pin(&mut self, failure: &Failure, worker: FailedWorker, now: Instant) {
        if !failure.pin_rejected {
            // The PIN is no longer the reason why no worker serves.
            if worker == FailedWorker::Gone {
                self.rejected = None;
            }
            return;
        }
        self.journal.pin_rejected(true);
        match (self.assignment.role, worker) {
            // The token was opened with this PIN, and the next worker tells whether the PIN still is right.
            (Role::Daemon, FailedWorker::Serves) => return,
            // A rejected PIN is not tried for each call, only by the attempts to start a worker.
            (Role::Daemon, FailedWorker::Gone) => {}
            // A command never tries it twice, because no operator acts between its calls.
            (Role::Look | Role::Admin, _) => {
                self.successor.change(Change::GivenUp);
                self.retiring.extend(self.current.take());
                self.dismiss_idle(now);
            }
        }
        self.rejected = Some(failure.error.clone());
        self.answer_queued(&failure.error);
    }
}

impl fmt::Debug for Supervision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervision").finish_non_exhaustive()
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
