//! The reports of `dekhand token`: each comes from a read-only worker that is started for it.

use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::notices::Noted;
use crate::backend::pkcs11::spawner::WorkerSource;
use crate::backend::pkcs11::supervisor::Supervisor;
use crate::backend::pkcs11::unasked;
use crate::root_key::error::Error;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::telemetry::metrics::Metrics;
use crate::token::report::MechanismReport;
use crate::token::report::TokenReport;

/// The tokens of the assignment's module. Does not log in.
///
/// # Errors
/// The module cannot be loaded.
pub async fn tokens(workers: &WorkerSource) -> Result<Vec<TokenReport>, Error> {
    match look(workers, Call::Tokens).await? {
        Outcome::Tokens(reports) => Ok(reports),
        _ => Err(unasked()),
    }
}

/// The assignment's token and its mechanisms. Does not log in.
///
/// # Errors
/// No token matches, or several do.
pub async fn describe(workers: &WorkerSource) -> Result<TokenReport, Error> {
    match look(workers, Call::Describe).await? {
        Outcome::Token(report) => Ok(report),
        _ => Err(unasked()),
    }
}

/// The versions of the assignment's root key, and notes about the token's objects for operators.
///
/// # Errors
/// The login fails, or the token cannot be read.
pub async fn versions(workers: &WorkerSource) -> Result<(Vec<Version>, Noted), Error> {
    let expected = Vec::new();
    super::listed_versions(look(workers, Call::Find { expected }).await?)
}

/// The test of each wrap mechanism with the key of a version, or with a session key.
///
/// # Errors
/// The login fails, or there is no such version.
pub async fn probe(workers: &WorkerSource, id: Option<KeyId>) -> Result<Vec<MechanismReport>, Error> {
    match look(workers, Call::Probe { id }).await? {
        Outcome::Mechanisms(reports) => Ok(reports),
        _ => Err(unasked()),
    }
}

async fn look(workers: &WorkerSource, call: Call) -> Result<Outcome, Error> {
    let supervisor = Supervisor::start(workers.clone(), Metrics::new());
    supervisor.call(call).await
}
