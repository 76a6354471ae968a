//! Keeps a worker at a token and calls it; what becomes of a single worker is no caller's business.
//!
//! One task owns everything: the calls that wait, the worker that serves, the one that is being started, those that end
//! their work. A worker is replaced when it died, when it hung (a call took longer than `call_timeout`), when it asked
//! to be, and when it has used half of its memory. What it had begun is repeated once by its successor if that does no
//! harm.

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

use crate::backend::pkcs11::protocol::call::Call;
use crate::backend::pkcs11::protocol::outcome::Outcome;
use crate::backend::pkcs11::spawner::WorkerNumber;
use crate::backend::pkcs11::spawner::WorkerSource;
use crate::backend::pkcs11::supervisor::call_queue::Request;
use crate::backend::pkcs11::supervisor::call_queue::too_many;
use crate::backend::pkcs11::supervisor::supervise::Supervision;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::patience::Patience;
use crate::telemetry::metrics::Metrics;
use crate::token::assignment::Assignment;

/// Calls on their way to the task, which takes each at once: there is room for all that callers may have under way.
const MOST_ON_THE_WAY: usize = 4096;

/// Calls a token. Cheap to clone; the worker is let go with the last clone.
#[derive(Clone, Debug)]
pub(super) struct Supervisor {
    requests: mpsc::Sender<Request>,
}

impl Supervisor {
    /// Starts a first worker at once. To be called inside the runtime that will make the calls.
    pub(super) fn start(workers: WorkerSource, metrics: Metrics) -> Self {
        let assignment = workers.assignment().clone();
        Self::with(workers, assignment, metrics)
    }

    fn with(workers: impl StartWorkers, assignment: Assignment, metrics: Metrics) -> Self {
        let (requests, received) = mpsc::channel(MOST_ON_THE_WAY);
        tokio::spawn(Supervision::new(Box::new(workers), assignment, metrics, received).run());
        Self { requests }
    }

    /// Calls the token for the daemon or a command itself: before everything that callers ask for.
    ///
    /// # Cancel safety
    /// A call that has begun goes on; one that has not is dropped.
    ///
    /// # Errors
    /// What the worker says; [`Kind::Outage`] if there is none, or none that lives long enough.
    pub(super) async fn call(&self, call: Call) -> Result<Outcome, Error> {
        self.call_for(Patience::endless(), call).await
    }

    /// Calls the token for callers with such patience.
    ///
    /// # Cancel safety
    /// As [`Supervisor::call`].
    ///
    /// # Errors
    /// As [`Supervisor::call`]; [`Kind::Busy`] at once if so much waits that this would not begin in time.
    pub(super) async fn call_for(&self, patience: Patience, call: Call) -> Result<Outcome, Error> {
        let (request, answer) = Request::new(call, patience);
        self.requests.try_send(request).map_err(|error| match error {
            TrySendError::Full(_) => too_many(),
            TrySendError::Closed(_) => stopped(),
        })?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Returns when the task is gone that does all this: it has panicked.
    pub(super) async fn stopped(&self) {
        self.requests.closed().await;
    }
}

fn stopped() -> Error {
    Error::new(
        Kind::Outage,
        "the part that calls the token has stopped; this is a defect, please report it",
    )
}

/// Where workers come from: the spawner, or a test.
pub(super) trait StartWorkers: Debug + Send + Sync + 'static {
    /// Starts one, which its own spawner tells what it is to do.
    fn start_worker(&self) -> io::Result<(Channel, WorkerNumber)>;

    /// Kills one, if it is still there.
    fn kill(&self, worker: WorkerNumber) -> io::Result<()>;
}

/// This end of a worker's channel.
pub(super) type Channel = Box<dyn ReadWrite>;

pub(super) trait ReadWrite: AsyncRead + AsyncWrite + Send + Unpin {}

impl<C: AsyncRead + AsyncWrite + Send + Unpin> ReadWrite for C {}

impl StartWorkers for WorkerSource {
    fn start_worker(&self) -> io::Result<(Channel, WorkerNumber)> {
        let (channel, worker) = Self::start_worker(self)?;
        Ok((Box::new(UnixStream::from_std(channel)?), worker))
    }

    fn kill(&self, worker: WorkerNumber) -> io::Result<()> {
        Self::kill(self, worker)
    }
}

/// So long a worker may take to leave its token when it has nothing more to do; it takes 2 s itself at most.
const GRACE: Duration = Duration::from_secs(3);

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
