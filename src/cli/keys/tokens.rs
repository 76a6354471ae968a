//! The way from a command to a token: a worker of the command's own, ended with it.

use std::fmt::Debug;
use std::io;
use std::path::Path;

use async_trait::async_trait;

use crate::backend::pkcs11::Pkcs11;
use crate::backend::pkcs11::admin::TokenAdmin;
use crate::backend::pkcs11::assignment::Assignment;
use crate::backend::pkcs11::assignment::Role;
use crate::backend::pkcs11::options::Pkcs11Options;
use crate::backend::pkcs11::report::KeyReport;
use crate::backend::pkcs11::spawner::Prints;
use crate::backend::pkcs11::spawner::Spawner;
use crate::cli::keys::target::Target;
use crate::cli::output::Output;
use crate::clock::Clock;
use crate::files;
use crate::root_key::Admin;
use crate::root_key::RootKey;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::telemetry::log::chain;
use crate::telemetry::metrics::Metrics;

/// Makes the place where workers write down which PINs worked and which were rejected. Commands often come before the
/// daemon's first start, and without that memory each of them could spend one of the token's tries.
pub(in crate::cli) fn remember_pins(state: &Path, out: &mut Output) {
    if let Err(error) = files::private_directory(state) {
        let error = chain(&error);
        out.talk(&format!(
            "warning: PINs that the token rejects are not remembered: {error}"
        ));
    }
}

/// How commands reach tokens.
pub trait Tokens: Debug {
    /// The versions of a root key in a token, for looking or for changing. To be called inside a runtime.
    ///
    /// # Errors
    /// There is no way to tokens.
    fn keys(&self, target: &Target, options: &Pkcs11Options, role: Role) -> Result<Box<dyn TokenKeys>, Error>;

    /// What the daemon sees of it. To be called inside a runtime.
    ///
    /// # Errors
    /// There is no way to tokens.
    fn root_key(&self, target: &Target, options: &Pkcs11Options) -> Result<Box<dyn RootKey>, Error>;
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

#[async_trait]
impl TokenKeys for TokenAdmin {
    async fn attributes(&self, id: &KeyId) -> Result<KeyReport, Error> {
        Self::attributes(self, id).await
    }
}

/// Starts workers.
#[derive(Debug)]
pub struct Workers {
    /// None where no root key lives in a token.
    spawner: Option<Spawner>,
    memory: u64,
}

impl Workers {
    /// For commands on these root keys, with this much memory for each worker. To be called before any thread is
    /// started and before anything is given up that a worker needs.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn start(targets: &[Target], memory: u64) -> io::Result<Self> {
        let needed = targets.iter().any(|target| target.token().is_some());
        let spawner = needed.then(|| Spawner::start(Prints::ToStderr)).transpose()?;
        Ok(Self { spawner, memory })
    }

    /// For root keys none of which lives in a token.
    pub fn none() -> Self {
        let (spawner, memory) = (None, 0);
        Self { spawner, memory }
    }

    /// Waits until all that was started is gone.
    pub fn end(&self) {
        if let Some(spawner) = &self.spawner {
            spawner.end();
        }
    }

    fn spawner(&self) -> Result<Spawner, Error> {
        let spawner = self.spawner.clone();
        spawner.ok_or_else(|| Error::new(Kind::Refusal, "this command was started without a way to tokens"))
    }

    fn assignment(&self, target: &Target, options: &Pkcs11Options, role: Role) -> Assignment {
        Assignment {
            role,
            root_key: target.name.clone(),
            options: options.clone(),
            state: Some(target.state.clone()),
            memory: self.memory,
        }
    }
}

impl Tokens for Workers {
    fn keys(&self, target: &Target, options: &Pkcs11Options, role: Role) -> Result<Box<dyn TokenKeys>, Error> {
        let assignment = self.assignment(target, options, role);
        let admin = TokenAdmin::start(self.spawner()?, assignment, Clock::system());
        Ok(Box::new(admin))
    }

    fn root_key(&self, target: &Target, options: &Pkcs11Options) -> Result<Box<dyn RootKey>, Error> {
        let assignment = self.assignment(target, options, Role::Look);
        // A command shows no metrics.
        Ok(Box::new(Pkcs11::start(self.spawner()?, assignment, Metrics::new())))
    }
}
