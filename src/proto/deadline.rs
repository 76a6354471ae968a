//! Until when the caller of a request waits.

use std::time::Duration;

use tokio::time::Instant;

/// A request's deadline: the listener puts it into the request's extensions, and the services read it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// The longest that a request may take, also when its caller names no time. kube-apiserver gives up after 3 s.
    pub const LONGEST: Duration = Duration::from_secs(60);

    /// The deadline of a caller who waits for `timeout` from now on.
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout.min(Self::LONGEST))
    }

    /// The deadline in a request's extensions; the longest when there is none.
    pub fn of(extensions: &tonic::Extensions) -> Self {
        extensions
            .get::<Self>()
            .copied()
            .unwrap_or_else(|| Self::after(Self::LONGEST))
    }
}
