//! Whether a token's first login on this node is still to come: a daemon waits a random time before it tries a PIN that
//! has never worked here.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

/// The moment of the first login. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct FirstLogin(Arc<Mutex<Option<Instant>>>);

impl FirstLogin {
    /// How long the worker still waits; `None` if it does not.
    pub fn waits(&self) -> Option<Duration> {
        let until = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        until
            .map(|until| until.saturating_duration_since(Instant::now()))
            .filter(|left| !left.is_zero())
    }

    /// The worker waits for this long from now on.
    pub(super) fn comes_in(&self, pause: Duration) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now().checked_add(pause);
    }
}
