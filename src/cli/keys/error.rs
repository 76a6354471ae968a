//! Why a command on root keys failed, and the kind of failure.

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
    /// The options contradict each other, or one is missing.
    #[error("needed: {0}")]
    Usage(&'static str),
    /// The configuration has no such root key.
    #[error("the configuration has no root key `{wanted}`; it has {known}")]
    UnknownRootKey {
        /// The requested name.
        wanted: RootKeyName,
        /// The names in the configuration.
        known: String,
    },
    /// The configuration lists the versions, so that labels in the token are ignored.
    #[error(
        "the configuration lists the versions of `{name}` in `versions:`, so dekhand ignores the token's labels: \
         `dekhand keys {command} --print` shows the steps to do by hand and the entry for `versions:`"
    )]
    Listed {
        /// The root key.
        name: RootKeyName,
        /// The command.
        command: &'static str,
    },
    /// The token holds a private key that looks like a version and is none.
    #[error(
        "the token holds a private key that was probably meant as a version of `{name}`, and does not count as one: it is \
         named in the warning. Correct its label or id with the vendor's tools, or destroy it if nothing is encrypted \
         under it; then run this command again"
    )]
    BesideMistake {
        /// The root key.
        name: RootKeyName,
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
    /// The input of `import` is not a key.
    #[error(transparent)]
    NotAKey(#[from] NotAKey),
    /// A file named on the command line cannot be read.
    #[error(transparent)]
    File(#[from] FileError),
    /// The store is a token and cannot be reached.
    #[error(transparent)]
    OfToken(Box<KeysError>),
    /// Stdin cannot be read.
    #[error("cannot read stdin")]
    Stdin(#[source] io::Error),
    /// Stdin is longer than any valid input.
    #[error("stdin has more than {0} bytes")]
    StdinTooLong(usize),
    /// There is no randomness for an id.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
    /// The operating system refused a process or a thread.
    #[error("cannot start the processes and threads of this command")]
    Runtime(#[source] io::Error),
}

/// The kind of failure; each has its exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The command line is wrong.
    Usage,
    /// A rule forbids it.
    Refused,
    /// The store cannot be reached.
    Unreachable,
    /// Anything else.
    Failed,
}

impl KeysError {
    /// The kind of failure.
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
            | Self::BesideMistake { .. }
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
    /// A remedy for the operator, if the error itself does not name one.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::OfToken(_) => {
                Some("`dekhand token info` shows the token and its PIN's state, `dekhand token list` all tokens")
            }
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
