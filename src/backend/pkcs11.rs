//! Root keys in a PKCS#11 token. Only a worker process ever calls the token.

pub mod admin;
pub mod first_login;
mod handover;
pub mod inspect;
pub mod ipc;
mod module_output;
pub mod notices;
mod own_process;
pub mod spawner;
mod supervisor;
pub(crate) mod worker;

use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use async_trait::async_trait;

use tokio::task::JoinSet;

use crate::backend::pkcs11::first_login::FirstLogin;
use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::notices::Noted;
use crate::backend::pkcs11::notices::Notices;
use crate::backend::pkcs11::spawner::WorkerSource;
use crate::backend::pkcs11::supervisor::Supervisor;
use crate::root_key::RootKey;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::root_key::waiters::Waiters;
use crate::secret::Key;
use crate::telemetry::metrics::Metrics;

/// One root key in a token, with its own worker that keeps the token open.
#[derive(Debug)]
pub struct Pkcs11 {
    supervisor: Supervisor,
    /// The last good list. It outlives the workers: a later list that lacks one of these versions must be proven.
    listed: Mutex<Vec<Version>>,
    /// The list in progress, if any. It takes long if a token holds thousands of keys; if its caller gives up, it
    /// continues for the next caller. Ends on drop.
    listing: tokio::sync::Mutex<JoinSet<Result<Outcome, Error>>>,
    notices: Notices,
}

impl Pkcs11 {
    /// Starts a worker at once. Must be called inside the runtime that will make the calls.
    pub fn start(workers: WorkerSource, metrics: Metrics) -> Self {
        Self::with(Supervisor::start(workers, metrics))
    }

    fn with(supervisor: Supervisor) -> Self {
        Self {
            supervisor,
            listed: Mutex::default(),
            listing: tokio::sync::Mutex::default(),
            notices: Notices::default(),
        }
    }

    /// Notes about the token's objects for operators, from the last list.
    pub fn notices(&self) -> Notices {
        self.notices.clone()
    }

    /// Whether the first login on this node is still to come.
    pub fn first_login(&self) -> FirstLogin {
        self.supervisor.first_login()
    }

    /// Returns when no more calls are possible, because the task that makes them has panicked.
    pub fn stopped(&self) -> impl Future<Output = ()> + Send + use<> {
        let supervisor = self.supervisor.clone();
        async move { supervisor.stopped().await }
    }

    fn listed(&self) -> MutexGuard<'_, Vec<Version>> {
        self.listed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl RootKey for Pkcs11 {
    /// # Cancel safety
    /// The list continues, for the next caller.
    async fn discover(&self) -> Result<Vec<Version>, Error> {
        // Held during the wait: two concurrent callers need not be faster than one.
        let mut listing = self.listing.lock().await;
        if listing.is_empty() {
            let expected = self.listed().iter().map(|version| version.id.clone()).collect();
            let supervisor = self.supervisor.clone();
            listing.spawn(async move { supervisor.call(Call::Find { expected }).await });
        }
        let listed = match listing.join_next().await {
            Some(Ok(listed)) => listed?,
            Some(Err(_)) | None => return Err(unasked()),
        };
        let (versions, noted) = listed_versions(listed)?;
        self.notices.replace(noted);
        self.listed().clone_from(&versions);
        Ok(versions)
    }

    async fn wrap(&self, id: &KeyId, data_key: &Key, waiters: &Waiters) -> Result<Wrapped, Error> {
        let data_key = Key::copied_from(data_key.expose()).ok_or_else(unasked)?;
        let id = id.clone();
        let call = Call::Wrap { id, data_key };
        match self.supervisor.call_for(waiters.clone(), call).await? {
            Outcome::Wrapped(wrapped) => Ok(wrapped),
            _ => Err(unasked()),
        }
    }

    async fn unwrap(&self, id: &KeyId, wrapped: &Wrapped, waiters: &Waiters) -> Result<Key, Error> {
        let retired = self
            .listed()
            .iter()
            .find(|version| version.id == *id && !version.state.decrypts())
            .map(Error::retired);
        if let Some(retired) = retired {
            return Err(retired);
        }
        let (id, wrapped) = (id.clone(), wrapped.clone());
        let call = Call::Unwrap { id, wrapped };
        match self.supervisor.call_for(waiters.clone(), call).await? {
            Outcome::DataKey(data_key) => Ok(data_key),
            _ => Err(unasked()),
        }
    }
}

fn versions(outcome: Outcome) -> Result<Vec<Version>, Error> {
    listed_versions(outcome).map(|(versions, _)| versions)
}

fn listed_versions(outcome: Outcome) -> Result<(Vec<Version>, Noted), Error> {
    match outcome {
        Outcome::Versions(versions) => Ok((versions, Noted::default())),
        Outcome::Listed(versions, noted) => Ok((versions, noted)),
        _ => Err(unasked()),
    }
}

/// A worker of the same build never sends one.
fn unasked() -> Error {
    Error::new(Kind::Outage, "unexpected reply from the token worker")
}
