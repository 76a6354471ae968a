//! The start of a worker, until its token is open.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use tokio::time::timeout;
use tokio::time::timeout_at;

use crate::backend::pkcs11::ipc::BUILD;
use crate::backend::pkcs11::ipc::ProtocolError;
use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::frame;
use crate::backend::pkcs11::ipc::frame::Frame;
use crate::backend::pkcs11::ipc::message::ExtendDeadline;
use crate::backend::pkcs11::ipc::message::FromWorker;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::ipc::message::ToWorker;
use crate::backend::pkcs11::spawner::WorkerNumber;
use crate::backend::pkcs11::supervisor::StartWorkers;
use crate::backend::pkcs11::supervisor::WorkerChannel;
use crate::backend::pkcs11::supervisor::journal::Events;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::token::assignment::Assignment;
use crate::token::problem::Failure;

/// A process without a hello within this time never sends one.
const HELLO: Duration = Duration::from_secs(5);
/// The longest pause that a worker may announce.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// A worker with an open token.
pub(super) struct Opened {
    pub(super) worker: WorkerNumber,
    pub(super) channel: WorkerChannel,
    /// Bytes of data memory that it uses.
    pub(super) memory: u64,
    /// Protections that it does without, with the reasons.
    pub(super) warnings: Vec<String>,
}

/// A worker that could not open its token.
#[derive(Debug)]
pub(super) struct NotOpened {
    pub(super) failure: Failure,
    /// It may still run.
    pub(super) worker: Option<WorkerNumber>,
    /// It does not end by itself.
    pub(super) hangs: bool,
}

impl NotOpened {
    fn outage(message: impl Into<String>) -> Self {
        Self {
            failure: Error::new(Kind::Outage, message).into(),
            worker: None,
            hangs: false,
        }
    }

    fn because(source: impl std::error::Error + Send + Sync + 'static) -> Self {
        let error = Error::new(Kind::Outage, "the token worker cannot be started").because(source);
        Self {
            failure: error.into(),
            worker: None,
            hangs: false,
        }
    }

    fn hangs(message: String) -> Self {
        Self {
            hangs: true,
            ..Self::outage(message)
        }
    }
}

/// Starts a worker and opens its token.
///
/// # Cancel safety
/// The worker notices that its channel is closed, and ends.
pub(super) async fn open(
    workers: Arc<dyn StartWorkers>,
    assignment: Arc<Assignment>,
    events: Arc<Events>,
) -> Result<Opened, NotOpened> {
    let (mut channel, worker) = workers.start_worker().map_err(NotOpened::because)?;
    let opened = async {
        let warnings = greet(&mut channel, &events).await?;
        let memory = open_token(&mut channel, &assignment, &events).await?;
        Ok::<_, NotOpened>((memory, warnings))
    };
    match opened.await {
        Ok((memory, warnings)) => Ok(Opened {
            worker,
            channel,
            memory,
            warnings,
        }),
        Err(error) => Err(NotOpened {
            worker: Some(worker),
            ..error
        }),
    }
}

/// Receives the worker's hello, with its warnings.
async fn greet(channel: &mut WorkerChannel, events: &Events) -> Result<Vec<String>, NotOpened> {
    match timeout(HELLO, receive(channel, events)).await {
        Err(_) => Err(NotOpened::hangs(format!(
            "the token worker did not start within {HELLO:?}"
        ))),
        Ok(Err(error)) => Err(ended(error, "started")),
        Ok(Ok(FromWorker::Hello { build, warnings })) if build == BUILD => Ok(warnings),
        Ok(Ok(FromWorker::Hello { .. })) => Err(NotOpened::outage(format!("the token worker is not build {BUILD}"))),
        Ok(Ok(FromWorker::NotStarted(reason))) => Err(NotOpened::outage(format!(
            "the token worker cannot be started: {reason}"
        ))),
        Ok(Ok(_)) => Err(NotOpened::because(ProtocolError::Unexpected)),
    }
}

async fn open_token(channel: &mut WorkerChannel, assignment: &Assignment, events: &Events) -> Result<u64, NotOpened> {
    let limit = assignment.options.open_timeout;
    let open = ToWorker {
        number: 0,
        call: Call::Open,
    };
    let mut open = Some(Frame::of(&open).map_err(NotOpened::because)?);
    let mut until = Instant::now() + limit;
    let answer = loop {
        let heard = async {
            // Sent once: a pause does not repeat the call.
            if let Some(open) = open.take() {
                frame::send(channel, &open).await?;
            }
            receive(channel, events).await
        };
        match timeout_at(until, heard).await {
            Err(_) => {
                let message = format!(
                    "the token did not answer within {limit:?} when it was opened (`open_timeout` is this limit: raise it \
                     if the module needs longer to start or to log in)"
                );
                return Err(NotOpened::hangs(message));
            }
            Ok(Err(error)) => return Err(ended(error, "opened the token")),
            Ok(Ok(FromWorker::ExtendDeadline(more))) => {
                if more.of == Paused::FirstLogin {
                    events.first_login().comes_in(pause(more));
                }
                until = Instant::now() + pause(more) + limit;
            }
            Ok(Ok(FromWorker::Answer(answer))) => break answer,
            Ok(Ok(_)) => return Err(NotOpened::because(ProtocolError::Unexpected)),
        }
    };
    match answer.result {
        Ok(Outcome::Done) => Ok(answer.memory),
        Ok(_) => Err(NotOpened::because(ProtocolError::Unexpected)),
        Err(failure) => Err(NotOpened {
            failure,
            worker: None,
            hangs: false,
        }),
    }
}

/// The length of a pause.
pub(super) fn pause(more: ExtendDeadline) -> Duration {
    more.pause.min(LONGEST_PAUSE)
}

/// The next message that is not an event.
async fn receive(channel: &mut WorkerChannel, events: &Events) -> Result<FromWorker, ProtocolError> {
    loop {
        match frame::receive(channel).await? {
            FromWorker::Event { level, message } => events.tell(level, &message),
            other => return Ok(other),
        }
    }
}

fn ended(error: ProtocolError, doing: &str) -> NotOpened {
    match error {
        ProtocolError::Channel(error) if error.kind() == ErrorKind::UnexpectedEof => {
            NotOpened::outage(format!("the token worker ended while it {doing}"))
        }
        error => NotOpened::because(error),
    }
}
