//! The reason of a failed call: an error that the worker's recovery still has to judge, or a final one.

use serde::Deserialize;
use serde::Serialize;

use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::token::error::TokenError;

/// Why a call failed.
#[derive(Debug)]
pub(crate) enum CallError {
    /// An error of the token or its module; recovery may help.
    Token(TokenError),
    /// Recovery by this process does not help.
    Final(Failure),
}

impl CallError {
    /// An outage that this process cannot end; another attempt succeeds after an outside change.
    pub(crate) fn outage(message: impl Into<String>) -> Self {
        Self::Final(Error::new(Kind::Outage, message).into())
    }

    /// The token has rejected the PIN, now or before.
    pub(crate) fn pin_rejected(message: impl Into<String>) -> Self {
        let error = Error::new(Kind::Outage, message);
        let failure = Failure {
            pin_rejected: true,
            ..error.into()
        };
        Self::Final(failure)
    }
}

impl From<TokenError> for CallError {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<cryptoki::error::Error> for CallError {
    fn from(error: cryptoki::error::Error) -> Self {
        Self::Token(error.into())
    }
}

impl From<Error> for CallError {
    fn from(error: Error) -> Self {
        Self::Final(error.into())
    }
}

/// Why a call failed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Failure {
    /// The kind and the text.
    #[serde(with = "kind_and_text")]
    pub(crate) error: Error,
    /// The worker cannot continue: it ends after this answer, and another one must be started.
    pub(crate) ends_worker: bool,
    /// The token has rejected the PIN, now or before.
    pub(crate) pin_rejected: bool,
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self {
            error,
            ends_worker: false,
            pin_rejected: false,
        }
    }
}

/// An error between processes: its kind, and its text with all causes.
mod kind_and_text {
    use serde::Deserialize as _;
    use serde::Deserializer;
    use serde::Serialize as _;
    use serde::Serializer;

    use crate::root_key::error::Error;
    use crate::root_key::error::Kind;

    pub(super) fn serialize<S: Serializer>(error: &Error, serializer: S) -> Result<S::Ok, S::Error> {
        (error.kind(), error.chain()).serialize(serializer)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Error, D::Error> {
        let (kind, text) = <(Kind, String)>::deserialize(deserializer)?;
        Ok(Error::new(kind, text))
    }
}
