//! What an operator may choose about data keys, their cache and outages.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::crypto::suite::Suite;

/// A data key seals at most so many payloads, ever (NIST SP 800-38D, 8.3: random nonces).
pub const MOST_USES: u64 = 1 << 32;

/// The options of the envelope. All can change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How payloads are sealed; all suites are opened.
    pub suite: Suite,
    /// A data key seals so many payloads: 1 to [`MOST_USES`].
    pub max_uses: u64,
    /// A data key seals for so long; never zero.
    pub max_age: Duration,
    /// Whether data keys are used more than once.
    pub reuse: Reuse,
    /// Unwrapped data keys stay in memory for so long; zero keeps none.
    pub cache_ttl: Duration,
    /// So many of them at most.
    pub cache_capacity: NonZeroUsize,
    /// Status stays ok for so long since the last good call to the root key.
    pub tolerate: Duration,
    /// How often the root key is tried and its versions are listed without traffic.
    pub probe_interval: Duration,
}

impl Default for Policy {
    fn default() -> Self {
        const DAY: Duration = Duration::from_secs(24 * 60 * 60);
        Self {
            suite: Suite::default(),
            max_uses: 1 << 20,
            max_age: DAY,
            reuse: Reuse::default(),
            cache_ttl: DAY,
            cache_capacity: const { NonZeroUsize::new(10_000).unwrap() },
            tolerate: DAY,
            probe_interval: Duration::from_secs(60),
        }
    }
}

impl Policy {
    /// Whether there are keys in memory with which an outage can be bridged.
    pub fn has_reserve(&self) -> bool {
        self.reuse == Reuse::UntilLimit && !self.cache_ttl.is_zero()
    }
}

/// Whether a data key seals more than one payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reuse {
    /// Until its uses or its age are spent.
    #[default]
    UntilLimit,
    /// One data key for each payload, two calls to the root key each.
    Never,
}
