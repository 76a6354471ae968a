//! The store of a root key, opened by one command.

use crate::backend::keyring::admin::KeyringAdmin;
use crate::backend::pkcs11::notices::Noted;
use crate::cli::keys::error::KeysError;
use crate::cli::keys::tokens::TokenKeys;
use crate::root_key::Admin;
use crate::root_key::error::Error;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::token::report::KeyReport;

/// The purpose for which a command opens a store.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum StoreAccess {
    /// Reading; login to a token is with the daemon's PIN.
    Look,
    /// Reading first, and changing after a confirmation.
    Consider,
    /// Changing, with the store locked against other commands if it has a lock.
    Change,
}

/// A store, open until it is dropped.
#[derive(Debug)]
pub(super) enum OpenStore {
    /// A file.
    Keyring(KeyringAdmin),
    /// A worker that has a token.
    Token(Box<dyn TokenKeys>),
}

impl OpenStore {
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

    /// The notices of the last list of versions.
    pub(super) fn noted(&self) -> Noted {
        match self {
            Self::Keyring(_) => Noted::default(),
            Self::Token(token) => token.noted(),
        }
    }

    /// A version's key as the token reports it; `None` for a keyring.
    pub(super) async fn report(&self, id: &KeyId) -> Option<Result<KeyReport, Error>> {
        match self {
            Self::Keyring(_) => None,
            Self::Token(token) => Some(token.attributes(id).await),
        }
    }
}
