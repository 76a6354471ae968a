//! Random choices, drawn from a seed.

use rand::RngExt as _;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;

/// A stream of draws.
#[derive(Debug)]
pub(crate) struct Chance(SmallRng);

impl Chance {
    /// One stream of a seed. The draws of one stream never shift those of another.
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        Self(SmallRng::seed_from_u64(hash(&[seed, stream])))
    }

    /// A number from `first` to `last`.
    pub(crate) fn within(&mut self, first: u64, last: u64) -> u64 {
        self.0.random_range(first..=last)
    }

    /// A number from 0 to `count` - 1.
    pub(crate) fn index(&mut self, count: usize) -> usize {
        self.0.random_range(0..count)
    }

    /// True with this probability in per cent.
    pub(crate) fn percent(&mut self, percent: u64) -> bool {
        self.within(0, 99) < percent
    }

    /// One of them.
    pub(crate) fn pick<T: Clone>(&mut self, items: &[T]) -> T {
        items[self.index(items.len())].clone()
    }
}

/// A number that depends only on these values (splitmix64): for draws of events without a fixed order.
pub(crate) fn hash(parts: &[u64]) -> u64 {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for part in parts {
        state = state.wrapping_add(*part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        state ^= state >> 31;
    }
    state
}
