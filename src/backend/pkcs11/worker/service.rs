//! The parts of the worker. Each owns its state; all threads share all parts.

use std::sync::Arc;

use crate::backend::pkcs11::worker::absence::Absence;
use crate::backend::pkcs11::worker::activity::Activity;
use crate::backend::pkcs11::worker::channel::Outlet;
use crate::backend::pkcs11::worker::proof::ProofParts;
use crate::backend::pkcs11::worker::proof::Proofs;
use crate::backend::pkcs11::worker::queue::JobQueue;
use crate::backend::pkcs11::worker::sessions::Access;
use crate::backend::pkcs11::worker::sessions::Sessions;
use crate::backend::pkcs11::worker::suspects::Suspects;
use crate::backend::pkcs11::worker::wrap_methods::WrapMethods;
use crate::clock::Clock;
use crate::token::assignment::Assignment;
use crate::token::pin_history::PinRecord;
use crate::token::problem::CallError;

/// The parts of the worker.
pub(super) struct Service {
    pub(super) assignment: Arc<Assignment>,
    pub(super) outlet: Arc<Outlet>,
    pub(super) queue: JobQueue,
    pub(super) sessions: Arc<Sessions>,
    pub(super) methods: Arc<WrapMethods>,
    pub(super) activity: Arc<Activity>,
    pub(super) proofs: Proofs,
    pub(super) suspects: Suspects,
    pub(super) absence: Absence,
}

impl Service {
    pub(super) fn new(assignment: Assignment, outlet: Outlet, clock: Clock) -> Self {
        let records = assignment.state.as_deref().map(PinRecord::of);
        Self::with(assignment, outlet, clock, records)
    }

    /// With this record of PINs.
    pub(super) fn with(assignment: Assignment, outlet: Outlet, clock: Clock, records: Option<PinRecord>) -> Self {
        let (assignment, outlet) = (Arc::new(assignment), Arc::new(outlet));
        let sessions = Arc::new(Sessions::new(assignment.clone(), outlet.clone(), records));
        let methods = Arc::new(WrapMethods::new(assignment.clone(), outlet.clone(), clock.clone()));
        let activity = Arc::new(Activity::new(clock.clone()));
        let proofs = Proofs::new(ProofParts {
            assignment: assignment.clone(),
            outlet: outlet.clone(),
            clock: clock.clone(),
            sessions: sessions.clone(),
            methods: methods.clone(),
            activity: activity.clone(),
        });
        Self {
            assignment,
            outlet,
            queue: JobQueue::default(),
            sessions,
            methods,
            activity,
            proofs,
            suspects: Suspects::new(clock.clone()),
            absence: Absence::new(clock),
        }
    }

    /// Runs `work` on this thread's session, and opens what is not open yet.
    pub(super) fn with_session<T>(
        &self,
        session_index: usize,
        job: u64,
        work: impl FnOnce(Access<'_>) -> Result<T, CallError>,
    ) -> Result<T, CallError> {
        self.sessions
            .with_session(session_index, job, || self.proofs.admission(job), work)
    }
}
