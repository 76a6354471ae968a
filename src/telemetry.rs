//! Log lines through a bounded queue, and metrics.

pub mod command_log;
pub mod limit;
pub mod log;
pub mod metrics;
