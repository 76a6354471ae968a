//! A command's access to tokens: workers of its own, which end with it.

use std::fmt::Debug;
use std::io;
use std::path::Path;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use async_trait::async_trait;

use crate::backend::pkcs11::Pkcs11;
use crate::backend::pkcs11::admin::TokenAdmin;
use crate::backend::pkcs11::notices::Noted;
use crate::backend::pkcs11::notices::Notices;
use crate::backend::pkcs11::spawner::Prints;
use crate::backend::pkcs11::spawner::Spawner;
use crate::backend::pkcs11::spawner::WorkerSource;
use crate::cli::output::Output;
use crate::files;
use crate::root_key::Admin;
use crate::root_key::RootKey;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::telemetry::command_log;
use crate::telemetry::log::chain;
use crate::telemetry::metrics::Metrics;
use crate::token::assignment::Assignment;
use crate::token::assignment::Role;
use crate::token::report::KeyReport;

/// Creates the state directory, where workers record which PINs worked and which were rejected. Commands often run
/// before the daemon's first start; without the record each could use up one of the token's PIN attempts.
pub(in crate::cli) fn remember_pins(state: &Path, out: &mut Output) {
    if let Err(error) = files::state_directory(state) {
        let error = chain(&error);
        out.talk(&format!(
            "warning: cannot record the PINs that the token rejects: {error}"
        ));
    }
}

/// Warns of keys in a token that are ignored, or will be.
pub(in crate::cli) fn warn_of_keys(Noted { public, left_out, .. }: &Noted, out: &mut Output) {
    for told in public.iter().chain(left_out) {
        out.talk(&format!("warning: {told}"));
    }
}

/// Access to tokens for commands.
pub trait Tokens: Debug {
    /// The versions of a root key in a token, for reading or for changing. Must be called inside a runtime.
    ///
    /// # Errors
    /// The command has no worker for this root key and role.
    fn keys(&self, name: &RootKeyName, role: Role) -> Result<Box<dyn TokenKeys>, Error>;

    /// The root key as the daemon sees it. Must be called inside a runtime.
    ///
    /// # Errors
    /// The command has no worker for this root key.
    fn root_key(&self, name: &RootKeyName) -> Result<Box<dyn RootKey>, Error>;

    /// The notices of all lists of versions so far.
    fn noted(&self) -> Noted {
        Noted::default()
    }
}

/// The versions of a root key in a token.
#[async_trait]
pub trait TokenKeys: Admin {
    /// A version's key as the token reports it.
    ///
    /// # Errors
    /// The token cannot be read, or has no such version.
    async fn attributes(&self, id: &KeyId) -> Result<KeyReport, Error>;

    /// The notices of the last list of versions.
    fn noted(&self) -> Noted {
        Noted::default()
    }
}

#[async_trait]
impl TokenKeys for TokenAdmin {
    async fn attributes(&self, id: &KeyId) -> Result<KeyReport, Error> {
        Self::attributes(self, id).await
    }

    fn noted(&self) -> Noted {
        self.notices().last()
    }
}

/// Starts workers.
#[derive(Debug)]
pub struct Workers {
    /// `None` if no root key is in a token.
    spawner: Option<Spawner>,
    notices: Mutex<Vec<Notices>>,
}

impl Workers {
    /// Starts the spawner for a command, with assignments for its root keys in one role. Must be called before any
    /// thread is started and before hardening, which workers would inherit.
    ///
    /// # Errors
    /// The operating system refused.
    pub fn start(assignments: Vec<Assignment>) -> io::Result<Self> {
        command_log::start();
        let needed = !assignments.is_empty();
        let spawner = needed.then(|| Spawner::start(Prints::ToStderr, assignments));
        Ok(Self {
            spawner: spawner.transpose()?,
            notices: Mutex::default(),
        })
    }

    /// Without a spawner: no root key is in a token.
    pub fn none() -> Self {
        Self {
            spawner: None,
            notices: Mutex::default(),
        }
    }

    /// Waits until the spawner and all workers have ended.
    pub fn end(&self) {
        if let Some(spawner) = &self.spawner {
            spawner.end();
        }
    }

    fn notices(&self) -> MutexGuard<'_, Vec<Notices>> {
        self.notices.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn source(&self, name: &RootKeyName, role: Role) -> Result<WorkerSource, Error> {
        let spawner = self.spawner.as_ref();
        let source = spawner.and_then(|spawner| spawner.workers(name, role));
        source.ok_or_else(|| {
            Error::new(
                Kind::Refusal,
                "this command has no token worker for this root key and role",
            )
        })
    }
}

impl Tokens for Workers {
    fn keys(&self, name: &RootKeyName, role: Role) -> Result<Box<dyn TokenKeys>, Error> {
        let admin = TokenAdmin::start(self.source(name, role)?);
        self.notices().push(admin.notices());
        Ok(Box::new(admin))
    }

    fn root_key(&self, name: &RootKeyName) -> Result<Box<dyn RootKey>, Error> {
        // A command serves no metrics.
        let root_key = Pkcs11::start(self.source(name, Role::Look)?, Metrics::new());
        self.notices().push(root_key.notices());
        Ok(Box::new(root_key))
    }

    fn noted(&self) -> Noted {
        let mut all = Noted::default();
        for noted in self.notices().iter().map(Notices::last) {
            let Noted {
                public,
                left_out,
                leaves_out_private_key,
            } = noted;
            all.leaves_out_private_key |= leaves_out_private_key;
            all.public.extend(public);
            all.left_out.extend(left_out);
        }
        for told in [&mut all.public, &mut all.left_out] {
            told.sort_unstable();
            told.dedup();
        }
        all
    }
}
