//! Why a command on root keys failed, and what kind of failure that is.

use std::io;

use crate::backend::keyring::error::KeyringError;
use crate::cli::keys::key_encoding::NotAKey;
use crate::files::FileError;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::high_water::HighWaterError;
use crate::root_key::name::RootKeyName;
use crate::root_key::rotation::error::RotationError;
use crate::root_key::rotation::refusal::Refusal;
use crate::root_key::rotation::verify::VerifyError;
use crate::secret::NoRandomness;
use crate::token::proof_record::ProofRecordError;

/// A command on root keys failed.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The options do not go together.
    #[error("needed: {0}")]
    Usage(&'static str),
    /// The configuration has no such root key.
    #[error("the configuration has no root key `{wanted}`; it has {known}")]
    UnknownRootKey {
        /// What was asked for.
        wanted: RootKeyName,
        /// What there is.
        known: String,
    },
    /// What is written on the keys of this token counts for nothing.
    #[error(
        "`versions:` in the configuration lists the versions of `{name}`, whatever the token's labels say: \
         `dekhand keys {command} --print` shows what to do by hand and what to write there"
    )]
    Listed {
        /// The root key.
        name: RootKeyName,
        /// The command.
        command: &'static str,
    },
    /// The rules forbid it, or the store or the state directory failed.
    #[error(transparent)]
    Rotation(#[from] RotationError),
    /// The keyring failed.
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// A key could not be verified.
    #[error(transparent)]
    Verify(#[from] VerifyError),
    /// The state directory failed.
    #[error(transparent)]
    HighWater(#[from] HighWaterError),
    /// The same.
    #[error(transparent)]
    ProofRecord(#[from] ProofRecordError),
    /// What should be imported is no key.
    #[error(transparent)]
    NotAKey(#[from] NotAKey),
    /// A file named on the command line can't be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store that can't be reached is a token.
    #[error(transparent)]
    OfToken(Box<KeysError>),
    /// Stdin can't be read.
    #[error("cannot read stdin")]
    Stdin(#[source] io::Error),
    /// Stdin holds more than could be meant.
    #[error("stdin has more than {0} bytes")]
    StdinTooLong(usize),
    /// There is no randomness for an id.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The operating system has nothing to run on.
    #[error("cannot start")]
    Runtime(#[source] io::Error),
}

/// What kind of failure it is; each has its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The command line is wrong.
    Usage,
    /// A rule forbids it.
    Refused,
    /// The store can't be reached.
    Unreachable,
    /// Anything else.
    Failed,
}

impl KeysError {
    /// What kind of failure it is.
    pub fn kind(&self) -> FailureKind {
        let of_store = |error: &Error| match error.kind() {
            Kind::Outage | Kind::Busy => FailureKind::Unreachable,
            Kind::Refusal => FailureKind::Refused,
            Kind::Corruption | Kind::BadInput => FailureKind::Failed,
        };
        match self {
            Self::OfToken(error) => error.kind(),
            Self::Usage(_) | Self::UnknownRootKey { .. } => FailureKind::Usage,
            Self::Listed { .. }
            | Self::Rotation(RotationError::Refused(_))
            | Self::Verify(VerifyError::Refused(_))
            | Self::Keyring(KeyringError::Exists { .. } | KeyringError::Directory { .. }) => FailureKind::Refused,
            Self::Rotation(RotationError::Store(error)) | Self::Verify(VerifyError::Store(error)) => of_store(error),
            Self::Keyring(KeyringError::Missing { .. }) => FailureKind::Unreachable,
            Self::Rotation(_)
            | Self::Verify(_)
            | Self::Keyring(_)
            | Self::HighWater(_)
            | Self::ProofRecord(_)
            | Self::NotAKey(_)
            | Self::File(_)
            | Self::Stdin(_)
            | Self::StdinTooLong(_)
            | Self::NoRandomness(_)
            | Self::Runtime(_) => FailureKind::Failed,
        }
    }
}

impl KeysError {
    /// What the reader may do, where the error itself does not say it.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::OfToken(_) => Some(
                "`dekhand token info` shows the token and how its PIN stands, `dekhand token list` all tokens of the module",
            ),
            _ => None,
        }
    }
}

impl From<Refusal> for KeysError {
    fn from(refusal: Refusal) -> Self {
        Self::Rotation(refusal.into())
    }
}

impl From<Error> for KeysError {
    fn from(error: Error) -> Self {
        Self::Rotation(error.into())
    }
}
