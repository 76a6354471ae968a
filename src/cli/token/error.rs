//! Why a command about tokens failed, and what kind of failure that is.

use std::io;

use crate::cli::keys::error::FailureKind;
use crate::config::DEFAULT_FILE;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::name::RootKeyName;

/// A command about tokens failed.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// No option names a module, and there is no configuration file in the usual place.
    #[error("which token is not known: there is no {}", DEFAULT_FILE)]
    Unnamed,
    /// The configuration has no such root key in a token.
    #[error("the configuration has no root key `{wanted}` in a token; it has {known}")]
    UnknownRootKey {
        /// What was asked for.
        wanted: RootKeyName,
        /// What there is.
        known: String,
    },
    /// The configuration has no root key in a token.
    #[error("no root key of the configuration lives in a token")]
    NoneInAToken,
    /// The module has several tokens, or none.
    #[error("{}", not_one(labels))]
    NotOne {
        /// Their labels.
        labels: Vec<String>,
    },
    /// The module or its token failed.
    #[error(transparent)]
    Token(#[from] Error),
    /// The token wants a login, and no PIN was given.
    #[error("{0}")]
    WithoutPin(Error),
    /// dekhand wraps by no mechanism of this token.
    #[error("dekhand can wrap by no mechanism of this token")]
    NoMechanism,
    /// The operating system has nothing to run on.
    #[error("cannot start")]
    System(#[source] io::Error),
}

fn not_one(labels: &[String]) -> String {
    if labels.is_empty() {
        "the module has no token that was initialised".to_owned()
    } else {
        format!("the module has {} tokens: {}", labels.len(), labels.join(", "))
    }
}

impl TokenError {
    /// What kind of failure it is.
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::NotOne { labels } if labels.is_empty() => FailureKind::Unreachable,
            Self::Unnamed | Self::UnknownRootKey { .. } | Self::NoneInAToken | Self::NotOne { .. } => {
                FailureKind::Usage
            }
            Self::Token(error) | Self::WithoutPin(error) => match error.kind() {
                Kind::Outage | Kind::Busy => FailureKind::Unreachable,
                Kind::Refusal => FailureKind::Refused,
                Kind::Corruption | Kind::BadInput => FailureKind::Failed,
            },
            Self::NoMechanism => FailureKind::Refused,
            Self::System(_) => FailureKind::Failed,
        }
    }

    /// What the reader may do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unnamed => Some("name a configuration with --config, or a PKCS#11 module with --module"),
            Self::NoneInAToken => Some("`--module PATH` looks at a module without a configuration"),
            Self::NotOne { labels } if labels.is_empty() => {
                Some("`dekhand token list` shows the slots; a token is initialised with its vendor's tool")
            }
            Self::NotOne { .. } => Some("name one with --token"),
            Self::WithoutPin(_) => Some("name a file with the token's PIN by --pin-file"),
            Self::NoMechanism => {
                Some("the reasons stand beside each mechanism; deploy/tokens.md says what to expect of which token")
            }
            Self::UnknownRootKey { .. } | Self::Token(_) | Self::System(_) => None,
        }
    }
}
