//! A root key's store, as one command has opened it.

use crate::backend::keyring::admin::KeyringAdmin;
use crate::backend::pkcs11::notices::Noted;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::tokens::TokenKeys;
use crate::root_key::Admin;
use crate::root_key::error::Error;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::token::report::KeyReport;

/// What a command opens a store for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    /// For looking; a token is asked with the daemon's PIN.
    Look,
    /// For looking first, and changing once somebody has confirmed it.
    Consider,
    /// For changing, with no other command in between where the store can hold others off.
    Change,
}

/// A store, open until it is dropped.
#[derive(Debug)]
pub(super) enum Opened {
    /// A file.
    Keyring(KeyringAdmin),
    /// A worker that has a token.
    Token(Box<dyn TokenKeys>),
}

impl Opened {
    /// Its versions and what can be done to them.
    pub(super) fn admin(&self) -> &dyn Admin {
        match self {
            Self::Keyring(keyring) => keyring,
            Self::Token(token) => token.as_ref(),
        }
    }

    /// Every version that the store holds now.
    pub(super) async fn versions(&self) -> Result<Vec<Version>, KeysError> {
        Ok(self.admin().versions().await?)
    }

    /// What the last list of versions was told with.
    pub(super) fn noted(&self) -> Noted {
        match self {
            Self::Keyring(_) => Noted::default(),
            Self::Token(token) => token.noted(),
        }
    }

    /// What a token says of a version's key; nothing where there is no token.
    pub(super) async fn report(&self, id: &KeyId) -> Option<Result<KeyReport, Error>> {
        match self {
            Self::Keyring(_) => None,
            Self::Token(token) => Some(token.attributes(id).await),
        }
    }
}
