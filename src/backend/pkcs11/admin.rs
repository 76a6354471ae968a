//! The token of a command: creates, dates and destroys versions in it, through the command's own worker.

use async_trait::async_trait;

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::listed_versions;
use crate::backend::pkcs11::notices::Notices;
use crate::backend::pkcs11::spawner::WorkerSource;
use crate::backend::pkcs11::supervisor::Supervisor;
use crate::backend::pkcs11::unasked;
use crate::backend::pkcs11::versions;
use crate::root_key::Admin;
use crate::root_key::error::Error;
use crate::root_key::id::KeyId;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::secret::Key;
use crate::telemetry::metrics::Metrics;
use crate::token::report::KeyReport;

/// Changes the versions of a root key in a token, within the assignment's role.
#[derive(Debug)]
pub struct TokenAdmin {
    supervisor: Supervisor,
    notices: Notices,
}

impl TokenAdmin {
    /// Starts a worker at once. Must be called inside the runtime that will make the calls.
    pub fn start(workers: WorkerSource) -> Self {
        // A command has no metrics.
        let supervisor = Supervisor::start(workers, Metrics::new());
        let notices = Notices::default();
        Self { supervisor, notices }
    }

    /// Notes about the token's objects for operators, from the last list.
    pub fn notices(&self) -> Notices {
        self.notices.clone()
    }

    /// The token's description of a version's key.
    ///
    /// # Errors
    /// The token has no such version, or is unavailable.
    pub async fn attributes(&self, id: &KeyId) -> Result<KeyReport, Error> {
        let id = id.clone();
        match self.supervisor.call(Call::Attributes { id }).await? {
            Outcome::Attributes(report) => Ok(report),
            _ => Err(unasked()),
        }
    }

    /// Makes a call that returns the version that it has created.
    async fn make(&self, call: Call) -> Result<Version, Error> {
        let made = versions(self.supervisor.call(call).await?)?;
        made.into_iter().next().ok_or_else(unasked)
    }

    async fn change(&self, call: Call) -> Result<(), Error> {
        match self.supervisor.call(call).await? {
            Outcome::Done => Ok(()),
            _ => Err(unasked()),
        }
    }
}

#[async_trait]
impl Admin for TokenAdmin {
    async fn versions(&self) -> Result<Vec<Version>, Error> {
        let expected = Vec::new();
        let (versions, noted) = listed_versions(self.supervisor.call(Call::Find { expected }).await?)?;
        self.notices.replace(noted);
        Ok(versions)
    }

    async fn generate(&self, number: Number, state: State) -> Result<Version, Error> {
        self.make(Call::Generate { number, state }).await
    }

    async fn import(&self, number: Number, state: State, key: Key) -> Result<Version, Error> {
        self.make(Call::Import { number, state, key }).await
    }

    async fn relabel(&self, id: &KeyId, state: State) -> Result<(), Error> {
        let id = id.clone();
        self.change(Call::Relabel { id, state }).await
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), Error> {
        let id = id.clone();
        self.change(Call::Destroy { id }).await
    }
}
