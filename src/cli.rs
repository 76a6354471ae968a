//! The command line.

pub mod keys;
pub mod output;
