//! Who asks for something, and until when.

use tokio::time::Instant;

use crate::proto::deadline::Deadline;

/// Where a request comes from: the number of its connection. The listener puts it into the request's extensions. What
/// callers share behind the door they share by it, so that none can take it from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Origin(pub u64);

impl Origin {
    /// Calls to root keys that each origin may have under way, whatever others have: as many as the listener assures
    /// each connection of.
    pub const ASSURED: usize = 16;
}

/// The caller of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker {
    /// When it gives up.
    pub until: Instant,
    /// Where it calls from; `None` for one that did not come through the listener.
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
    /// One without an origin.
    fn from(until: Instant) -> Self {
        Self { until, origin: None }
    }
}
