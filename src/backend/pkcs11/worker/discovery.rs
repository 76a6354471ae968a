//! Discovery in stretches: a token can hold thousands of keys, and callers need the same session.

use std::cell::Cell;
use std::time::Duration;
use std::time::Instant;

use cryptoki::session::Session;

use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::worker::execute::Progress;
use crate::backend::pkcs11::worker::job::Job;
use crate::backend::pkcs11::worker::job::Stretches;
use crate::backend::pkcs11::worker::recovery::Ladder;
use crate::backend::pkcs11::worker::service::Service;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::token::assignment::Role;
use crate::token::error::TokenError;
use crate::token::login::Proof;
use crate::token::objects::Discovery;
use crate::token::objects::Found;
use crate::token::problem::CallError;
use crate::token::session::Connection;
use crate::token::session::OpenToken;

/// The length of a stretch, after which other calls run; a thread that must log in again waits for at most this long.
const STRETCH: Duration = Duration::from_millis(50);
/// The interval of progress reports from work that cannot be interrupted. A call that hangs sends none, and is noticed.
const SIGN: Duration = Duration::from_millis(100);
/// The longest pause of a discovery that is announced to the daemon.
const WAIT_AS_TOLD: Duration = Duration::from_secs(60);
/// A longer discovery is logged.
const LONG: Duration = Duration::from_secs(5);
const WHAT_HELPS: &str = "if `versions:` in the configuration lists the root key's keys, dekhand reads no others";

impl Service {
    /// The versions in the token. A list that lacks previous versions must be proven.
    pub(super) fn find(
        &self,
        job: &Job,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        expected: &[KeyId],
    ) -> Result<Progress, CallError> {
        let since = Instant::now();
        let goes_on = self.signs(job.number, STRETCH);
        let calls = connection.module().calls();
        if job.stretches.is_none() {
            token.finder().admit(self.at_the_disk(job.number, || self.admission())?);
        }
        let found = match token.finder().find(calls, session, job.number, &goes_on)? {
            Discovery::Underway { left } => return Ok(Progress::Underway { left }),
            Discovery::Found(found) => found,
        };
        if job.stretches.is_none() && since.elapsed() >= LONG {
            let told = format!(
                "it took {} s to list the token's keys; {WHAT_HELPS}",
                since.elapsed().as_secs()
            );
            self.outlet.say(Level::Warn, told);
        }
        let found = self.believe(token, found, expected)?;
        self.at_the_disk(job.number, || self.note_listed(token, &found));
        let noted = self.noted(&found);
        Ok(Progress::Done(Outcome::Listed(found.versions, noted)))
    }

    /// The same before a change: keeps the session until it is complete.
    pub(super) fn find_at_once(
        &self,
        number: u64,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
    ) -> Result<Vec<Version>, TokenError> {
        let goes_on = self.signs(number, Duration::MAX);
        let calls = connection.module().calls();
        loop {
            if let Discovery::Found(found) = token.finder().find(calls, session, number, &goes_on)? {
                return Ok(found.versions);
            }
        }
    }

    /// Called after each step: tells the daemon that the call continues, and tells a discovery whether its stretch
    /// does.
    pub(super) fn signs(&self, number: u64, stretch: Duration) -> impl Fn() -> bool {
        let since = Instant::now();
        let last = Cell::new(since);
        move || {
            if last.get().elapsed() >= SIGN {
                self.outlet.extend_deadline(Paused::Call(number), Duration::ZERO);
                last.set(Instant::now());
            }
            since.elapsed() < stretch
        }
    }

    /// Puts a discovery back to wait for its next stretch, and frees the session for others.
    pub(super) fn put_back(&self, mut job: Job, ladder: Ladder, left: usize) {
        let stretches = job.stretches.get_or_insert_with(|| Box::new(Stretches::new()));
        stretches.ladder = ladder;
        if !stretches.told && stretches.since.elapsed() >= LONG {
            stretches.told = true;
            let told = format!(
                "the token's keys are read one by one, and {left} are left; until then the versions are unknown; \
                 {WHAT_HELPS}"
            );
            self.outlet.say(Level::Warn, told);
        }
        self.outlet.extend_deadline(Paused::Call(job.number), WAIT_AS_TOLD);
        self.queue.push(job);
    }

    fn believe(&self, token: &OpenToken, found: Found, expected: &[KeyId]) -> Result<Found, CallError> {
        for warning in &found.warnings {
            self.outlet.say(Level::Warn, warning.clone());
        }
        let shows = |id: &KeyId| found.versions.iter().any(|version| version.id == *id);
        let mut missing: Vec<Option<KeyId>> = expected.iter().filter(|id| !shows(id)).cloned().map(Some).collect();
        if found.versions.is_empty() {
            missing.push(None);
        } else {
            self.saw(None);
        }
        for version in &found.versions {
            self.saw(Some(version.id.clone()));
        }
        missing.retain(|what| !self.is_proven_missing(what.as_ref()));
        // Each command is a fresh worker, and its user looks twice.
        let believed = self.assignment.role != Role::Daemon && token.login() == Proof::Confirmed;
        if missing.is_empty() || believed {
            return Ok(found);
        }
        Err(TokenError::Incomplete(missing).into())
    }
}
