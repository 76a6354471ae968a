//! Exit codes, and how an error is told: what failed, why, and what to do.

use std::process::ExitCode;

use crate::app::AppError;
use crate::cli::output::Output;
use crate::config::ConfigError;

/// The table under `--help`.
pub const TABLE: &str = "Exit codes: 0 good, 1 failed, 2 usage, 3 configuration, 4 unreachable, 5 refused";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// All is good.
    Good = 0,
    /// Something failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Configuration = 3,
    /// The daemon or the store can't be reached.
    Unreachable = 4,
    /// A rule forbids it.
    Refused = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

