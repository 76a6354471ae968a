//! The command line.

pub mod config;
pub mod output;
pub mod overrides;
