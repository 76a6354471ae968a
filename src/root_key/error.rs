//! The errors of root keys: outage, refusal, corruption, bad input, and too many calls.

use serde::Deserialize;
use serde::Serialize;

use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::telemetry::log::chain;

/// The kind of a failure. Status, the cache and the operator treat each kind differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Kind {
    /// The store is unavailable: unreachable, sessions lost, a call timed out, a PIN rejected, a key not found yet.
    Outage,
    /// The store refuses the call: permission or mechanism denied, key proven missing.
    Refusal,
    /// A round trip does not match, or the store's answers are inconsistent.
    Corruption,
    /// The wrapped key is proven bad; the root key works.
    BadInput,
    /// Too many calls at once. The root key may be well.
    Busy,
}

/// The reaction to a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reaction {
    /// Try again, with backoff: the failure may end by itself.
    Reconnect,
    /// An operator must change something.
    Operator,
    /// Nothing: the input is bad.
    Reject,
}

/// A failed call to a root key. Clones share their cause, since one unwrap may answer many callers.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    kind: Kind,
    message: String,
    #[source]
    source: Option<std::sync::Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of this kind. `message` states what failed, on what, and what to do.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// Adds the cause.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(std::sync::Arc::new(source));
        self
    }

    /// The store holds no version of this id.
    pub fn missing(id: &KeyId) -> Self {
        Self::new(Kind::Refusal, format!("the store holds no version with id {id}"))
    }

    /// The version is retired.
    pub fn retired(version: &Version) -> Self {
        let Version { number, id, .. } = version;
        Self::new(
            Kind::Refusal,
            format!("{number} (id {id}) is retired: to use it again, run `dekhand keys restore {number}`"),
        )
    }

    /// A wrapped key did not unwrap under a root key that works.
    pub fn bad_wrap(id: &KeyId) -> Self {
        Self::new(
            Kind::BadInput,
            format!("a wrapped data key cannot be unwrapped under version {id}"),
        )
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// Whether the failed call shows that the root key works. The rejection of a bad wrapped key shows that.
    pub fn shows_a_working_root_key(&self) -> bool {
        self.kind == Kind::BadInput
    }

    /// The reaction to it.
    pub fn reaction(&self) -> Reaction {
        match self.kind {
            Kind::Outage | Kind::Busy => Reaction::Reconnect,
            Kind::Refusal | Kind::Corruption => Reaction::Operator,
            Kind::BadInput => Reaction::Reject,
        }
    }

    /// The message and all its causes on one line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}
