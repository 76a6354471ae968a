//! Why a command about tokens failed, and what kind of failure that is.

use std::io;

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
    #[error("the module has {count} tokens that were initialised{}", names(labels))]
    NotOne {
        /// So many.
        count: usize,
        /// Their labels.
        labels: Vec<String>,
    },
    /// The module or its token failed.
    #[error(transparent)]
    Token(#[from] Error),
    /// dekhand wraps by no mechanism of this token.
    #[error("{0}")]
    NoMechanism(&'static str),
    /// The operating system has nothing to run on.
    #[error("cannot start")]
    System(#[source] io::Error),
}

fn names(labels: &[String]) -> String {
    if labels.is_empty() {
        String::new()
    } else {
        format!(": {}", labels.join(", "))
    }
}

impl TokenError {
    /// Whether the command line is wrong.
    pub fn is_usage(&self) -> bool {
        match self {
            Self::Unnamed | Self::UnknownRootKey { .. } | Self::NoneInAToken => true,
            Self::NotOne { labels, .. } => !labels.is_empty(),
            Self::Token(_) | Self::NoMechanism(_) | Self::System(_) => false,
        }
    }

    /// Whether the token was not reached.
    pub fn is_unreachable(&self) -> bool {
        match self {
            Self::Token(error) => error.kind() == Kind::Outage,
            Self::NotOne { labels, .. } => labels.is_empty(),
            _ => false,
        }
    }

    /// Whether the token says no.
    pub fn is_refused(&self) -> bool {
        match self {
            Self::Token(error) => error.kind() == Kind::Refusal,
            Self::NoMechanism(_) => true,
            _ => false,
        }
    }

    /// What the reader may do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unnamed => Some("name a configuration with --config, or a PKCS#11 module with --module"),
            Self::NoneInAToken => Some("`--module PATH` looks at a module without a configuration"),
            Self::NotOne { labels, .. } if labels.is_empty() => {
                Some("`dekhand token list` shows the slots; a token is initialised with its vendor's tool")
            }
            Self::NotOne { .. } => Some("name one with --token"),
            Self::NoMechanism(_) => Some("`mechanism:` of the configuration can demand one; see deploy/tokens.md"),
            Self::UnknownRootKey { .. } | Self::Token(_) | Self::System(_) => None,
        }
    }
}
