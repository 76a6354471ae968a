//! Keeps a worker connected to the token and calls it. Callers do not notice the loss of a single worker.
//!
//! One task owns everything: the waiting calls, the worker that serves, the one that is starting, and those that finish
//! their calls. A worker is replaced when it died, when it hung (a call took longer than `call_timeout`), when it
//! requested that, and when it has used half of its memory limit. The calls that it had begun are repeated once by its
//! successor if that does no harm.

mod active_worker;
mod call_queue;
mod handshake;
mod journal;
mod link;
mod restart_backoff;
mod supervise;

use std::fmt::Debug;
use std::io;
use std::time::Duration;

use tokio::io::AsyncRead;
use tokio::io::AsyncWrite;
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;

use crate::backend::pkcs11::first_login::FirstLogin;
use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::spawner::WorkerNumber;
use crate::backend::pkcs11::spawner::WorkerSource;
use crate::backend::pkcs11::supervisor::call_queue::Request;
use crate::backend::pkcs11::supervisor::call_queue::too_many;
use crate::backend::pkcs11::supervisor::supervise::Supervision;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::waiters::Waiters;
use crate::telemetry::metrics::Metrics;
use crate::token::assignment::Assignment;

/// Calls on their way to the task, which takes each at once: there is room for all concurrent calls of all callers.
const MOST_ON_THE_WAY: usize = 4096;

/// Calls a token. Cheap to clone; the worker ends with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    requests: mpsc::Sender<Request>,
    first_login: FirstLogin,
}

impl Supervisor {
    /// Starts a first worker at once. Must be called inside the runtime that will make the calls.
    pub(super) fn start(workers: WorkerSource, metrics: Metrics) -> Self {
        let assignment = workers.assignment().clone();
        Self::with(workers, assignment, metrics)
    }

    fn with(workers: impl StartWorkers, assignment: Assignment, metrics: Metrics) -> Self {
        let (requests, received) = mpsc::channel(MOST_ON_THE_WAY);
        let first_login = FirstLogin::default();
        let supervision = Supervision::new(Box::new(workers), assignment, metrics, first_login.clone(), received);
        tokio::spawn(supervision.run());
        Self { requests, first_login }
    }

    /// Whether the first login on this node is still to come.
    pub(super) fn first_login(&self) -> FirstLogin {
        self.first_login.clone()
    }

    /// Makes a call of the daemon or a command itself, which precedes all callers' calls.
    ///
    /// # Cancel safety
    /// A call that has begun continues; another one is dropped.
    ///
    /// # Errors
    /// The worker's error; [`Kind::Outage`] if there is no worker, or none that lives long enough.
    pub(super) async fn call(&self, call: Call) -> Result<Outcome, Error> {
        self.call_for(Waiters::of_daemon(), call).await
    }

    /// Makes a call for these waiters.
    ///
    /// # Cancel safety
    /// As [`Supervisor::call`].
    ///
    /// # Errors
    /// As [`Supervisor::call`]; [`Kind::Busy`] at once if so many calls wait that this one would not begin in time.
    pub(super) async fn call_for(&self, waiters: Waiters, call: Call) -> Result<Outcome, Error> {
        let (request, answer) = Request::new(call, waiters);
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => too_many(),
            TrySendError::Closed(_) => stopped(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Returns when the task of the supervisor has ended: it has panicked.
    pub(super) async fn stopped(&self) {
        self.requests.closed().await;
    }
}

fn stopped() -> Error {
    Error::new(
        Kind::Outage,
        "the task that calls the token has stopped; this is a bug, please report it",
    )
}

/// A source of workers: the spawner, or a test.
pub(super) trait StartWorkers: Debug + Send + Sync + 'static {
    /// Starts a worker, which gets its assignment from its own spawner.
    fn start_worker(&self) -> io::Result<(WorkerChannel, WorkerNumber)>;

    /// Kills a worker, if it still runs.
    fn kill(&self, worker: WorkerNumber) -> io::Result<()>;

    /// What modules have printed just now.
    fn printed(&self) -> Option<String> {
        None
    }
}

/// The daemon's end of a worker's channel.
pub(super) type WorkerChannel = Box<dyn ReadWrite>;

pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for C {}

impl StartWorkers for WorkerSource {
    fn start_worker(&self) -> io::Result<(WorkerChannel, WorkerNumber)> {
        let (channel, worker) = Self::start_worker(self)?;
        Ok((Box::new(UnixStream::from_std(channel)?), worker))
    }

    fn kill(&self, worker: WorkerNumber) -> io::Result<()> {
        Self::kill(self, worker)
    }

    fn printed(&self) -> Option<String> {
        Self::printed(self)
    }
}

/// The time for a worker without calls to leave its token; the worker itself limits this to 2 s.
const GRACE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
