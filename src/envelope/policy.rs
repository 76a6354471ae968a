//! The operator's settings for data keys, their cache and outages.

use std::num::NonZeroUsize;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;

use crate::crypto::suite::Suite;

/// A data key seals at most 2^32 payloads, ever (NIST SP 800-38D, 8.3: random nonces).
pub const MOST_USES: u64 = 1 << 32;

/// A data key seals at most 64 GiB of payload, ever, in blocks of 16 bytes: 2^32 of them. Far below what AES-256-GCM can
/// bear, and the same for every suite.
pub(crate) const MOST_BLOCKS: u64 = 1 << 32;

/// The options of the envelope. All of them can change while it runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// The suite for sealing; payloads of every suite can be opened.
    pub suite: Suite,
    /// A data key seals at most this many payloads: 1 to [`MOST_USES`]. Independently, it ends after 64 GiB.
    pub max_uses: u64,
    /// A data key seals for at most this long; never zero.
    pub max_age: Duration,
    /// Whether data keys are used more than once.
    pub reuse: Reuse,
    /// Unwrapped data keys stay in memory for up to this long; zero keeps none.
    pub cache_ttl: Duration,
    /// At most this many unwrapped data keys stay in memory.
    pub cache_capacity: NonZeroUsize,
    /// In an outage, Status stays ok for up to this long after the last good call to the root key.
    pub tolerate: Duration,
    /// The interval of probes and listings when there is no traffic.
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
    /// Whether data keys are kept in memory, so that an outage can be tolerated.
    pub fn has_reserve(&self) -> bool {
        self.reuse == Reuse::UntilLimit && !self.cache_ttl.is_zero()
    }
}

/// Whether a data key seals more than one payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Reuse {
    /// A data key seals until its limit of uses or age.
    #[default]
    UntilLimit,
    /// Each payload has its own data key, which costs two calls to the root key.
    Never,
}
