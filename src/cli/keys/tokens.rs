//! The way from a command to a token: a worker of the command's own, ended with it.

use std::fmt::Debug;

use async_trait::async_trait;

use crate::backend::pkcs11::assignment::Role;
use crate::backend::pkcs11::options::Pkcs11Options;
use crate::backend::pkcs11::report::KeyReport;
use crate::root_key::Admin;
use crate::root_key::RootKey;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;

use crate::cli::keys::target::Target;

/// How commands reach tokens.
#[async_trait]
pub trait Tokens: Debug + Sync {
    /// The versions of a root key in a token, for looking or for changing.
    ///
    /// # Errors
    /// The worker can't be started.
    async fn keys(&self, target: &Target, options: &Pkcs11Options, role: Role) -> Result<Box<dyn TokenKeys>, Error>;

    /// What the daemon sees of it.
    ///
    /// # Errors
    /// The worker can't be started.
    async fn root_key(&self, target: &Target, options: &Pkcs11Options) -> Result<Box<dyn RootKey>, Error>;
}

/// The versions of a root key in a token.
#[async_trait]
pub trait TokenKeys: Admin {
    /// What the token says of a version's key.
    ///
    /// # Errors
    /// It does not say, or has no such version.
    async fn attributes(&self, id: &KeyId) -> Result<KeyReport, Error>;
}

/// Where no root key lives in a token.
#[derive(Clone, Copy, Debug)]
pub struct NoTokens;

impl NoTokens {
    fn error() -> Error {
        Error::new(Kind::Refusal, "this command was started without a way to tokens")
    }
}

#[async_trait]
impl Tokens for NoTokens {
    async fn keys(&self, _: &Target, _: &Pkcs11Options, _: Role) -> Result<Box<dyn TokenKeys>, Error> {
        Err(Self::error())
    }

    async fn root_key(&self, _: &Target, _: &Pkcs11Options) -> Result<Box<dyn RootKey>, Error> {
        Err(Self::error())
    }
}
