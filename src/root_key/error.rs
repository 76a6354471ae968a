//! What can go wrong with a root key, in the three kinds that design keeps apart; beside them, bad input and too much at once.

use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::telemetry::log::chain;

/// Which kind of failure: each is treated differently by Status, the cache and the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The store is away: unreachable, sessions lost, a call timed out, a PIN rejected, a key not found yet.
    Outage,
    /// The store answers and says no: permission or mechanism denied, key proven missing.
    Refusal,
    /// A round trip that does not match, or a store that contradicts itself.
    Corruption,
    /// The wrapped key is proven bad; the root key is well.
    BadInput,
    /// Too much is asked at once; says nothing about the root key.
    Busy,
}

/// What helps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Remedy {
    /// Try again, with backoff: it heals by itself.
    Reconnect,
    /// Somebody has to change something.
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
    /// An error of this kind; `message` says what failed, on what, and what the reader may do.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            source: None,
        }
    }

    /// The same with its cause.
    #[must_use]
    pub fn because(mut self, source: impl std::error::Error + Send + Sync + 'static) -> Self {
        self.source = Some(std::sync::Arc::new(source));
        self
    }

    /// The store holds no version of this id.
    pub fn missing(id: &KeyId) -> Self {
        Self::new(Kind::Refusal, format!("the store holds no version with id {id}"))
    }

    /// This version decrypts no more.
    pub fn retired(version: &Version) -> Self {
        let Version { number, id, .. } = version;
        Self::new(
            Kind::Refusal,
            format!("{number} (id {id}) is retired: `dekhand keys restore {number}` brings it back"),
        )
    }

    /// A wrapped key did not unwrap under a root key that works.
    pub fn bad_wrap(id: &KeyId) -> Self {
        Self::new(
            Kind::BadInput,
            format!("a wrapped data key does not open under version {id}"),
        )
    }

    /// Its kind.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What helps against it.
    pub fn remedy(&self) -> Remedy {
        match self.kind {
            Kind::Outage | Kind::Busy => Remedy::Reconnect,
            Kind::Refusal | Kind::Corruption => Remedy::Operator,
            Kind::BadInput => Remedy::Reject,
        }
    }

    /// The message and all its causes on one line.
    pub fn chain(&self) -> String {
        chain(self)
    }
}
