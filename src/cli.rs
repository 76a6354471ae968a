//! The command line: one module per command.

pub mod config;
pub mod output;
pub mod overrides;
