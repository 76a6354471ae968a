//! The messages, as types. Both ends are the same build, so they need not stay compatible.

use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::backend::pkcs11::ipc::exposed_key;
use crate::backend::pkcs11::notices::Noted;
use crate::root_key::Wrapped;
use crate::root_key::version::Version;
use crate::secret::Key;
use crate::token::problem::Failure;
use crate::token::report::KeyReport;
use crate::token::report::MechanismReport;
use crate::token::report::TokenReport;

/// A call to a worker. The worker's assignment (its token and role) comes from the spawner; no message can change it.
#[derive(Debug, Serialize, Deserialize)]
pub struct ToWorker<C> {
    /// The answer has the same number.
    pub number: u64,
    /// A [`Call`](super::call::Call), or a reference to one.
    pub call: C,
}

/// A message from a worker.
#[derive(Debug, Serialize, Deserialize)]
pub enum FromWorker {
    /// The worker's first message.
    Hello {
        /// The build of its program.
        build: String,
        /// Protections that it does without, with the reasons.
        warnings: Vec<String>,
    },
    /// Why there is no worker: the spawner did not start one, or the worker could not begin.
    NotStarted(String),
    /// The end of a call.
    Answer(Answer),
    /// A line for the daemon's log.
    Event {
        /// Its level.
        level: Level,
        /// Its text.
        message: String,
    },
    /// More time for calls: the worker pauses on purpose, or continues after a step.
    ExtendDeadline(ExtendDeadline),
}

/// One answer.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    /// The number of the call.
    pub number: u64,
    /// Bytes of data memory that the worker uses.
    pub memory: u64,
    /// The result of the call.
    pub result: Result<Outcome, Failure>,
}

/// The result of a successful call.
#[derive(Debug, Serialize, Deserialize)]
pub enum Outcome {
    /// Success without a value.
    Done,
    /// Versions, in order.
    Versions(Vec<Version>),
    /// The same, with notes about the token's objects for operators.
    Listed(Vec<Version>, Noted),
    /// A wrapped data key.
    Wrapped(Wrapped),
    /// An unwrapped data key.
    DataKey(#[serde(with = "exposed_key")] Key),
    /// The tokens of a module.
    Tokens(Vec<TokenReport>),
    /// One token and its mechanisms.
    Token(TokenReport),
    /// The trial of each wrap mechanism.
    Mechanisms(Vec<MechanismReport>),
    /// The attributes of a version's key.
    Attributes(KeyReport),
}

/// The level of an event in the daemon's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Level {
    /// An operator must act.
    Error,
    /// An operator may have to act.
    Warn,
    /// An operator would want to know.
    Info,
    /// For the search for a cause.
    Debug,
}

/// More time for calls.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct ExtendDeadline {
    /// The calls that pause. The worker goes on with the others.
    pub of: Paused,
    /// The longest pause. The timeout of these calls starts anew after it.
    pub pause: Duration,
}

/// The calls that pause.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Paused {
    /// The call of this number.
    Call(u64),
    /// All calls of the worker.
    All,
    /// The same, because the worker waits before it tries a PIN that has never worked on this node.
    FirstLogin,
}

/// A message from the daemon to its spawner, each in its own packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ToSpawner {
    /// Start a worker. The packet also carries the worker's end of its channel.
    Start {
        /// The worker's number, which the daemon assigns.
        worker: u64,
        /// The index of its assignment in the spawner's list.
        index: u32,
    },
    /// Kill a worker.
    Kill {
        /// The worker's number.
        worker: u64,
    },
}
