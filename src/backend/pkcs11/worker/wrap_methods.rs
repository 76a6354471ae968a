//! The wrap method of each version: chosen by a trial, and again when it fails or when a better one may work.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::worker::channel::Outlet;
use crate::backend::pkcs11::worker::mutex::lock;
use crate::backend::pkcs11::worker::sessions::Access;
use crate::clock::Clock;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::secret::Key;
use crate::token::assignment::Assignment;
use crate::token::key_object::KeyObject;
use crate::token::problem::CallError;
use crate::token::report::TrialResult;
use crate::token::return_value::Remedy;
use crate::token::wrap::WrapMethod;
use crate::token::wrap::select;
use crate::token::wrap::select::Chosen;

/// The first delay before a choice that a failing token may have forced is repeated; the delay doubles each time. Some
/// tokens report an unsupported mechanism with the return values of a failing device.
const UNTIL_ANOTHER_TRIAL: Duration = Duration::from_secs(3600);

/// The wrap methods of all versions.
pub(super) struct WrapMethods {
    assignment: Arc<Assignment>,
    outlet: Arc<Outlet>,
    clock: Clock,
    settled: Mutex<HashMap<KeyId, Settled>>,
}

/// The wrap method of a version.
#[derive(Clone, Copy, Debug)]
struct Settled {
    method: WrapMethod,
    again: Option<AnotherTrial>,
}

/// A trial that may find a better method.
#[derive(Clone, Copy, Debug)]
struct AnotherTrial {
    /// When it is due ([`Clock::boottime`]).
    at: Duration,
    /// The delay since the previous trial.
    pause: Duration,
}

impl WrapMethods {
    pub(super) fn new(assignment: Arc<Assignment>, outlet: Arc<Outlet>, clock: Clock) -> Self {
        Self {
            assignment,
            outlet,
            clock,
            settled: Mutex::default(),
        }
    }

    /// The method of a version, if one was chosen.
    pub(super) fn of(&self, id: &KeyId) -> Option<WrapMethod> {
        lock(&self.settled).get(id).map(|settled| settled.method)
    }

    /// Wraps by the method that the trial has chosen. The trial runs with the first wrap under a version, and again
    /// when the method fails: a token may change.
    pub(super) fn wrap(
        &self,
        access: Access<'_>,
        id: &KeyId,
        key: &KeyObject,
        data_key: &Key,
    ) -> Result<Wrapped, CallError> {
        let module = access.open.module();
        let now = self.clock.boottime();
        let settled = lock(&self.settled).get(id).copied();
        let is_due = |again: AnotherTrial| again.at <= now;
        let known = settled.filter(|settled| !settled.again.is_some_and(is_due));
        if let Some(settled) = known {
            match settled.method.wrap(module, access.session, key, id, data_key) {
                Err(error) if error.remedy() == Remedy::Nothing => lock(&self.settled).remove(id),
                done => return Ok(done?),
            };
        }
        let mut sessions = || access.open.session();
        let tried = select::choose(module, &mut sessions, key, id, self.assignment.options.mechanism);
        let before = settled.and_then(|settled| Some((settled.method, settled.again?.pause)));
        let pause = before.map_or(UNTIL_ANOTHER_TRIAL, |(_, pause)| pause.saturating_mul(2));
        let again = Some(AnotherTrial {
            at: now.saturating_add(pause),
            pause,
        });
        let chosen = match (tried, before) {
            (Ok(chosen), _) => chosen,
            // The trial was only to find a better method.
            (Err(_), Some((method, _))) => {
                lock(&self.settled).insert(id.clone(), Settled { method, again });
                let session = access.open.session()?;
                return Ok(method.wrap(module, &session, key, id, data_key)?);
            }
            (Err(error), None) => return Err(error.into()),
        };
        self.tell(id, &chosen, pause);
        // A session in which a wrap has just failed may be unusable.
        let mut own = None;
        let session = match known {
            Some(_) => own.insert(access.open.session()?),
            None => access.session,
        };
        let method = chosen.method;
        let wrapped = method.wrap(module, session, key, id, data_key)?;
        let again = again.filter(|_| chosen.troubled.is_some());
        lock(&self.settled).insert(id.clone(), Settled { method, again });
        Ok(wrapped)
    }

    /// Logs a choice, and the mechanisms that the token does incorrectly.
    fn tell(&self, id: &KeyId, chosen: &Chosen, pause: Duration) {
        for report in &chosen.reports {
            if let TrialResult::Wrong(reason) = &report.verdict {
                let told = format!("{} is not used under {id}: {reason}", report.mechanism);
                self.outlet.say(Level::Warn, told);
            }
        }
        let told = format!("data keys are wrapped under {id} by {}", chosen.method.choice());
        match &chosen.troubled {
            None => self.outlet.say(Level::Info, told),
            Some((better, error)) => {
                let told = format!(
                    "{told} for {} h: {better} failed with an error that may be temporary ({error})",
                    pause.as_secs() / 3600
                );
                self.outlet.say(Level::Warn, told);
            }
        }
    }
}
