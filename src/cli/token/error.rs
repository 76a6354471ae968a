//! Why a command about tokens failed, and what kind of failure that is.

use std::io;

use crate::cli::keys::error::FailureKind;
use crate::config::DEFAULT_FILE;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::name::RootKeyName;

/// A command about tokens failed.
#[derive(Debug, thiserror::Error)]
pub enum TokenCommandError {
    /// No option names a module, and there is no configuration file at the default path.
    #[error("no token is named, and there is no {}", DEFAULT_FILE)]
    Unnamed,
    /// The configuration has no such root key in a token.
    #[error("the configuration has no root key `{wanted}` in a token; it has {known}")]
    UnknownRootKey {
        /// The requested name.
        wanted: RootKeyName,
        /// The names in the configuration.
        known: String,
    },
    /// The configuration has no root key in a token.
    #[error("no root key of the configuration is in a token")]
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
    /// The token requires a login, and no PIN was given.
    #[error("{0}")]
    WithoutPin(Error),
    /// The token has no mechanism that dekhand can wrap with.
    #[error("the token has no mechanism that dekhand can wrap with")]
    NoMechanism,
    /// The operating system refused a process or a thread.
    #[error("cannot start the processes and threads of this command")]
    System(#[source] io::Error),
}

fn not_one(labels: &[String]) -> String {
    if labels.is_empty() {
        "the module has no initialised token".to_owned()
    } else {
        format!("the module has {} tokens: {}", labels.len(), labels.join(", "))
    }
}

impl TokenCommandError {
    /// The kind of failure.
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

    /// What an operator can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unnamed => Some("name a configuration with --config, or a PKCS#11 module with --module"),
            Self::NoneInAToken => Some("name a module with --module PATH; that needs no configuration"),
            Self::NotOne { labels } if labels.is_empty() => {
                Some("`dekhand token list` shows the slots; initialise a token with its vendor's tool")
            }
            Self::NotOne { .. } => Some("name one with --token"),
            Self::WithoutPin(_) => Some("name a file with the token's PIN with --pin-file"),
            Self::NoMechanism => {
                Some("each mechanism is listed with its reason; deploy/tokens.md lists the mechanisms of known tokens")
            }
            Self::UnknownRootKey { .. } | Self::Token(_) | Self::System(_) => None,
        }
    }
}
