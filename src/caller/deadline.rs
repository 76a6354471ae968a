//! The deadline of a request.

use std::time::Duration;

use tokio::time::Instant;

/// A request's deadline: the listener puts it into the request's extensions, and the services read it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadline(pub Instant);

impl Deadline {
    /// The limit of every request, also without a timeout from its caller. kube-apiserver's default timeout is 3 s.
    pub const LONGEST: Duration = Duration::from_secs(60);

    /// The deadline of a caller with this `timeout` from now on, at most [`Deadline::LONGEST`].
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout.min(Self::LONGEST))
    }

    /// The deadline in a request's extensions; without one, [`Deadline::LONGEST`] from now on.
    pub fn of(extensions: &tonic::Extensions) -> Self {
        extensions
            .get::<Self>()
            .copied()
            .unwrap_or_else(|| Self::after(Self::LONGEST))
    }
}
