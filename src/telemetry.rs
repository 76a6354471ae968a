//! Log lines through a bounded queue, and metrics.

pub mod limit;
pub mod log;
pub mod metrics;
