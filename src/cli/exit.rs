//! Exit codes, and how an error is printed: what failed, why, and what to do.

use std::process::ExitCode;

use crate::app::AppError;
use crate::cli::keys::error::FailureKind;
use crate::cli::keys::error::KeysError;
use crate::cli::output::Output;
use crate::cli::status::StatusError;
use crate::cli::token::error::TokenCommandError;
use crate::config::ConfigError;

/// The table under `--help`.
pub const TABLE: &str = "Exit codes: 0 good, 1 failed, 2 usage, 3 configuration, 4 unreachable, 5 refused";

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Exit {
    /// Success.
    Good = 0,
    /// Something failed.
    Failed = 1,
    /// The command line is wrong.
    Usage = 2,
    /// The configuration is wrong.
    Configuration = 3,
    /// The daemon or the store cannot be reached.
    Unreachable = 4,
    /// A rule forbids it.
    Refused = 5,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}

impl Exit {
    /// The exit code of an error, by its root cause.
    pub fn of(error: &anyhow::Error) -> Self {
        error.chain().find_map(Self::of_cause).unwrap_or(Self::Failed)
    }

    fn of_cause(cause: &(dyn std::error::Error + 'static)) -> Option<Self> {
        if cause.is::<ConfigError>() {
            return Some(Self::Configuration);
        }
        let of_keys = cause.downcast_ref::<KeysError>().map(KeysError::kind);
        if let Some(kind) = of_keys.or_else(|| Some(cause.downcast_ref::<TokenCommandError>()?.kind())) {
            return Some(match kind {
                FailureKind::Usage => Self::Usage,
                FailureKind::Refused => Self::Refused,
                FailureKind::Unreachable => Self::Unreachable,
                FailureKind::Failed => Self::Failed,
            });
        }
        if let Some(error) = cause.downcast_ref::<StatusError>() {
            return Some(match error {
                StatusError::Unnamed => Self::Usage,
                error if error.is_unreachable() => Self::Unreachable,
                _ => Self::Failed,
            });
        }
        match cause.downcast_ref::<AppError>() {
            Some(AppError::Running { .. }) => Some(Self::Refused),
            Some(AppError::Socket(error)) if error.is_in_use() => Some(Self::Refused),
            Some(_) => Some(Self::Failed),
            None => None,
        }
    }
}

/// Prints an error: what failed, each cause on a line of its own, and a hint if there is one.
pub fn tell(error: &anyhow::Error, out: &mut Output) {
    out.talk(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        out.talk(&format!("  {cause}"));
    }
    if let Some(hint) = error.chain().find_map(hint) {
        out.talk(&format!("hint: {hint}"));
    }
}

fn hint<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a str> {
    let of_config = cause
        .downcast_ref::<ConfigError>()
        .and_then(|error| error.hint.as_deref());
    of_config
        .or_else(|| cause.downcast_ref::<StatusError>()?.hint())
        .or_else(|| cause.downcast_ref::<KeysError>()?.hint())
        .or_else(|| cause.downcast_ref::<TokenCommandError>()?.hint())
}
