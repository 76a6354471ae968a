//! The caller of a request: its connection and its deadline.

pub mod deadline;

use tokio::time::Instant;

use crate::caller::deadline::Deadline;

/// The origin of a request: the number of its connection. The listener puts it into the request's extensions. Limited
/// resources are shared by origin, so that no caller can take them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u64);

impl Origin {
    /// The guaranteed number of concurrent calls to root keys for each origin. It equals the listener's guaranteed
    /// share for each connection.
    pub const ASSURED: usize = 16;
}

/// The caller of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// The caller's deadline.
    pub until: Instant,
    /// The caller's connection; `None` for a call that did not come through the listener.
    pub origin: Option<Origin>,
}

impl Asker {
    /// The caller in a request's extensions.
    pub fn of(extensions: &tonic::Extensions) -> Self {
        let Deadline(until) = Deadline::of(extensions);
        let origin = extensions.get::<Origin>().copied();
        Self { until, origin }
    }
}

impl From<Instant> for Asker {
    /// A caller without an origin.
    fn from(until: Instant) -> Self {
        Self { until, origin: None }
    }
}
