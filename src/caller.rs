//! The caller of a request: its connection and its deadline.

use std::time::Duration;

use tokio::time::Instant;

/// The number of a connection, which is never reused. Limited resources are shared by connection, so that no caller can
/// take them all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// The caller of a request. The listener puts it into the request's extensions, and the services read it there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The caller's connection; `None` for a call that did not come through the listener.
    pub connection: Option<ConnectionId>,
    /// The end of the caller's timeout.
    pub deadline: Instant,
}

impl Caller {
    /// The limit of every request, also without a timeout from its caller. kube-apiserver's default timeout is 3 s.
    pub const LONGEST_TIMEOUT: Duration = Duration::from_secs(60);

    /// A caller with this `timeout` from now on, at most [`Caller::LONGEST_TIMEOUT`].
    pub fn new(connection: Option<ConnectionId>, timeout: Duration) -> Self {
        let deadline = Instant::now() + timeout.min(Self::LONGEST_TIMEOUT);
        Self { connection, deadline }
    }
}

impl From<Instant> for Caller {
    /// A caller without a connection.
    fn from(deadline: Instant) -> Self {
        let connection = None;
        Self { connection, deadline }
    }
}
