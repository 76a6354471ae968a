//! Discovery in time slices: a token can hold thousands of keys, and callers need the same session.

use std::time::Duration;
use std::time::Instant;

use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::worker::execute::Progress;
use crate::backend::pkcs11::worker::job::Job;
use crate::backend::pkcs11::worker::job::SlicedDiscovery;
use crate::backend::pkcs11::worker::recovery::Recovery;
use crate::backend::pkcs11::worker::service::Service;
use crate::backend::pkcs11::worker::sessions::Access;
use crate::backend::pkcs11::worker::sessions::Open;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::token::assignment::Role;
use crate::token::error::TokenError;
use crate::token::login::LoginProof;
use crate::token::objects::Discovery;
use crate::token::objects::Found;
use crate::token::problem::CallError;

/// The length of a time slice, after which other calls run; a thread that must log in again waits for at most this long.
const TIME_SLICE: Duration = Duration::from_millis(50);
/// A longer discovery is logged.
const LONG: Duration = Duration::from_secs(5);
const WHAT_HELPS: &str = "if `versions:` in the configuration lists the root key's keys, dekhand reads no others";

impl Service {
    /// The versions in the token. A list that lacks previous versions must be proven.
    pub(super) fn find(
        &self,
        job: &Job,
        Access { open, session, .. }: Access<'_>,
        expected: &[KeyId],
    ) -> Result<Progress, CallError> {
        let since = Instant::now();
        let heartbeat = self.outlet.heartbeat(job.number, TIME_SLICE);
        let calls = open.module().calls();
        if job.discovery.is_none() {
            open.finder().admit(self.proofs.admission(job.number)?);
        }
        let found = match open.finder().find(calls, session, job.number, &heartbeat)? {
            Discovery::Underway { left } => return Ok(Progress::Underway { left }),
            Discovery::Found(found) => found,
        };
        if job.discovery.is_none() && since.elapsed() >= LONG {
            let told = format!(
                "it took {} s to list the token's keys; {WHAT_HELPS}",
                since.elapsed().as_secs()
            );
            self.outlet.say(Level::Warn, told);
        }
        let found = self.believe(open, found, expected)?;
        self.proofs.note_listed(job.number, open, &found);
        let noted = self.proofs.noted(&found);
        Ok(Progress::Done(Outcome::Listed(found.versions, noted)))
    }

    /// The same before a change: keeps the session until it is complete.
    pub(super) fn find_at_once(&self, Access { job, open, session }: Access<'_>) -> Result<Vec<Version>, TokenError> {
        let heartbeat = self.outlet.heartbeat(job, Duration::MAX);
        let calls = open.module().calls();
        loop {
            if let Discovery::Found(found) = open.finder().find(calls, session, job, &heartbeat)? {
                return Ok(found.versions);
            }
        }
    }

    /// Notes the end of a time slice in the job, and logs a long discovery once.
    pub(super) fn end_time_slice(&self, job: &mut Job, recovery: Recovery, left: usize) {
        let discovery = job.discovery.get_or_insert_with(|| Box::new(SlicedDiscovery::new()));
        discovery.recovery = recovery;
        if !discovery.told && discovery.since.elapsed() >= LONG {
            discovery.told = true;
            let told = format!(
                "the token's keys are read one by one, and {left} are left; until then the versions are unknown; \
                 {WHAT_HELPS}"
            );
            self.outlet.say(Level::Warn, told);
        }
    }

    fn believe(&self, open: Open<'_>, found: Found, expected: &[KeyId]) -> Result<Found, CallError> {
        // A command shows them itself, with the list.
        if self.assignment.role == Role::Daemon {
            for warning in &found.warnings {
                self.outlet.say(Level::Warn, warning.clone());
            }
        }
        let shows = |id: &KeyId| found.versions.iter().any(|version| version.id == *id);
        let mut missing: Vec<Option<KeyId>> = expected.iter().filter(|id| !shows(id)).cloned().map(Some).collect();
        if found.versions.is_empty() {
            missing.push(None);
        } else {
            self.absence.saw(None);
        }
        for version in &found.versions {
            self.absence.saw(Some(version.id.clone()));
        }
        missing.retain(|what| !self.absence.is_proven(what.as_ref()));
        // Each command is a fresh worker, and its user looks twice.
        let believed = self.assignment.role != Role::Daemon && open.token().login() == LoginProof::Confirmed;
        if missing.is_empty() || believed {
            return Ok(found);
        }
        Err(TokenError::Incomplete(missing).into())
    }
}
