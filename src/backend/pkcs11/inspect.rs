//! What `dekhand token` shows: each answer through a worker that is started for it and looks only.

use crate::backend::pkcs11::admin::report;
use crate::backend::pkcs11::notices::Noted;
use crate::backend::pkcs11::protocol::call::Call;
use crate::backend::pkcs11::protocol::outcome::Outcome;
use crate::backend::pkcs11::spawner::WorkerSource;
use crate::backend::pkcs11::supervisor::Supervisor;
use crate::root_key::error::Error;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::telemetry::metrics::Metrics;
use crate::token::report::MechanismReport;
use crate::token::report::TokenReport;

/// The tokens of the assignment's module; no login is tried.
///
/// # Errors
/// The module can't be loaded.
pub async fn tokens(workers: &WorkerSource) -> Result<Vec<TokenReport>, Error> {
    report(look(workers, Call::Tokens).await?)
}

/// The assignment's token and its mechanisms; no login is tried.
///
/// # Errors
/// There is no such token, or no single one.
pub async fn describe(workers: &WorkerSource) -> Result<TokenReport, Error> {
    report(look(workers, Call::Describe).await?)
}

/// The versions of the assignment's root key, and what an operator should know of the token's objects.
///
/// # Errors
/// Login fails, or the token can't be read.
pub async fn versions(workers: &WorkerSource) -> Result<(Vec<Version>, Noted), Error> {
    let expected = Vec::new();
    super::listed_versions(look(workers, Call::Find { expected }).await?)
}

/// What each wrap mechanism does with the key of a version, or with one that lives as long as its session.
///
/// # Errors
/// Login fails, or there is no such version.
pub async fn probe(workers: &WorkerSource, id: Option<KeyId>) -> Result<Vec<MechanismReport>, Error> {
    report(look(workers, Call::Probe { id }).await?)
}

async fn look(workers: &WorkerSource, call: Call) -> Result<Outcome, Error> {
    let supervisor = Supervisor::start(workers.clone(), Metrics::new());
    supervisor.call(call).await
}
