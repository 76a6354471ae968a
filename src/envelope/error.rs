//! Why a payload was not sealed or opened.

use crate::crypto::SealError;
use crate::envelope::sealed_format::ParseError;
use crate::root_key::error::Error as RootKeyError;
use crate::root_key::id::KeyId;

/// What a door tells its caller; everything else is for the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorKind {
    /// The caller sent what can't be right.
    InvalidArgument,
    /// The version that sealed it does not decrypt here.
    FailedPrecondition,
    /// The root key is away; it may come back.
    Unavailable,
    /// Too much at once.
    ResourceExhausted,
    /// The root key says no, until an operator changes something.
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
    #[error("the request names another key_id than the payload, which has {inside}")]
    KeyIdMismatch {
        /// The id inside.
        inside: KeyId,
    },
    /// Changed since it was sealed, or sealed by somebody else.
    #[error("the payload under version {id} is not authentic")]
    NotAuthentic {
        /// The version that it names.
        id: KeyId,
    },
    /// Empty, or larger than a sealed payload may become.
    #[error("a payload has 1 byte at least, and at most {limit} bytes when sealed; this is {length} long")]
    PayloadLength {
        /// Bytes of the payload.
        length: usize,
        /// Most bytes of a sealed payload.
        limit: usize,
    },
    /// No store of this node has the version.
    #[error("no root key here has a version {0}")]
    UnknownVersion(KeyId),
    /// Two root keys of the configuration hold the same id.
    #[error("version {0} is in two entries of root_keys; remove one of them")]
    Ambiguous(KeyId),
    /// The version was retired.
    #[error("version {0} is retired; `dekhand keys restore` takes it back")]
    Retired(KeyId),
    /// The root key's store is away and nothing in memory helps.
    #[error("the root key can't be reached: {0}")]
    Unavailable(String),
    /// The root key refuses, or contradicts itself.
    #[error("the root key refuses: {0}")]
    Refused(String),
    /// More calls to root keys at once than may wait.
    #[error("too many data keys are being wrapped or unwrapped")]
    TooManyCalls,
    /// The machine has no randomness.
    #[error("sealing failed")]
    Seal(#[from] SealError),
    /// A part of the daemon has stopped.
    #[error("a part of the daemon has stopped; this is a defect")]
    Stopped,
}

impl EnvelopeError {
    /// What a door tells its caller.
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
