//! Why a call failed: an error that the ladder still has to judge, or one that is final.

use crate::backend::pkcs11::protocol::outcome::Failure;
use crate::backend::pkcs11::worker::error::TokenError;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;

/// Why a call failed.
#[derive(Debug)]
pub(super) enum Problem {
    /// The token or its module; something may help.
    Token(TokenError),
    /// Nothing that this process can do helps.
    Final(Failure),
}

impl Problem {
    /// An outage that this process does not heal: somebody changes something, and another try finds it.
    pub(super) fn outage(message: impl Into<String>) -> Self {
        Self::Final(Error::new(Kind::Outage, message).into())
    }

    /// The token has rejected the PIN, now or before.
    pub(super) fn pin_rejected(message: impl Into<String>) -> Self {
        let error = Error::new(Kind::Outage, message);
        let failure = Failure {
            pin_rejected: true,
            ..error.into()
        };
        Self::Final(failure)
    }
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl From<cryptoki::error::Error> for Problem {
    fn from(error: cryptoki::error::Error) -> Self {
        Self::Token(error.into())
    }
}

impl From<Error> for Problem {
    fn from(error: Error) -> Self {
        Self::Final(error.into())
    }
}
