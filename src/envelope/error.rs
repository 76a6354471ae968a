//! Why a payload was not sealed or opened.

use crate::crypto::SealError;
use crate::root_key::error::Error as RootKeyError;
use crate::root_key::id::KeyId;
use crate::root_key::sealed_format::ParseError;

/// The only part of an error that a caller is told; the text is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller's input is invalid.
    InvalidArgument,
    /// The version that sealed the payload does not decrypt on this node.
    FailedPrecondition,
    /// The root key is unavailable; a retry may succeed.
    Unavailable,
    /// Too many calls at once.
    ResourceExhausted,
    /// The root key refuses until an operator changes something.
    Refused,
    /// A defect, or a machine without randomness.
    Internal,
}

/// A payload was not sealed or opened. The text is for the log.
#[derive(Clone, Debug, thiserror::Error)]
pub enum EnvelopeError {
    /// Not the sealed format.
    #[error("not a sealed payload: {0}")]
    Malformed(#[from] ParseError),
    /// The request's `key_id` is not the id inside the payload.
    #[error("the request's key_id differs from the payload's key_id {inside}")]
    KeyIdMismatch {
        /// The id inside.
        inside: KeyId,
    },
    /// The payload was changed after sealing, or was not sealed under this root key for this purpose.
    #[error("the payload under version {id} is not authentic")]
    NotAuthentic {
        /// The version that the payload names.
        id: KeyId,
    },
    /// The payload is empty, or too large to be sealed.
    #[error("the payload has {length} bytes; it must have at least 1, and at most {limit} when sealed")]
    PayloadLength {
        /// Bytes of the payload.
        length: usize,
        /// The limit of a sealed payload, in bytes.
        limit: usize,
    },
    /// No store of this node has the version.
    #[error("no root key of this node has version {0}")]
    UnknownVersion(KeyId),
    /// Two root keys of the configuration hold the same id.
    #[error("version {0} is in two entries of root_keys; remove one of them")]
    Ambiguous(KeyId),
    /// The version was retired.
    #[error("version {0} is retired; to read under it again, run `dekhand keys restore`")]
    Retired(KeyId),
    /// The root key is unavailable, and no data key in memory can answer.
    #[error("the root key is unavailable: {0}")]
    Unavailable(String),
    /// The root key refuses, or its answers are inconsistent.
    #[error("the root key cannot be used: {0}")]
    Refused(String),
    /// Too many calls to root keys are waiting.
    #[error("too many data keys are being wrapped or unwrapped")]
    TooManyCalls,
    /// The operating system has no randomness, or the payload is too long for the algorithm.
    #[error("sealing failed")]
    Seal(#[from] SealError),
    /// A task of the daemon has stopped.
    #[error("a task of the daemon has stopped; this is a defect, please report it")]
    Stopped,
}

impl EnvelopeError {
    /// The part of the error that a caller is told.
    pub fn kind(&self) -> ErrorKind {
        match self {
            Self::Malformed(_)
            | Self::KeyIdMismatch { .. }
            | Self::NotAuthentic { .. }
            | Self::PayloadLength { .. } => ErrorKind::InvalidArgument,
            Self::UnknownVersion(_) | Self::Retired(_) | Self::Ambiguous(_) => ErrorKind::FailedPrecondition,
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Refused(_) => ErrorKind::Refused,
            Self::TooManyCalls => ErrorKind::ResourceExhausted,
            Self::Seal(_) | Self::Stopped => ErrorKind::Internal,
        }
    }
}

impl From<&RootKeyError> for EnvelopeError {
    fn from(error: &RootKeyError) -> Self {
        use crate::root_key::error::Kind;
        match error.kind() {
            Kind::Outage => Self::Unavailable(error.chain()),
            Kind::Busy => Self::TooManyCalls,
            Kind::Refusal | Kind::Corruption | Kind::BadInput => Self::Refused(error.chain()),
        }
    }
}
