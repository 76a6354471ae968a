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
        error.chain().find_map(failure).map_or(Self::Failed, CliFailure::exit)
    }
}

/// An error with an exit code and possibly a hint.
trait CliFailure: std::error::Error + 'static {
    fn exit(&self) -> Exit;

    fn hint(&self) -> Option<&str> {
        None
    }
}

impl CliFailure for ConfigError {
    fn exit(&self) -> Exit {
        Exit::Configuration
    }

    fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }
}

impl CliFailure for KeysError {
    fn exit(&self) -> Exit {
        self.kind().into()
    }

    fn hint(&self) -> Option<&str> {
        self.hint()
    }
}

impl CliFailure for TokenCommandError {
    fn exit(&self) -> Exit {
        self.kind().into()
    }

    fn hint(&self) -> Option<&str> {
        self.hint()
    }
}

impl CliFailure for StatusError {
    fn exit(&self) -> Exit {
        match self {
            Self::Unnamed => Exit::Usage,
            error if error.is_unreachable() => Exit::Unreachable,
            _ => Exit::Failed,
        }
    }

    fn hint(&self) -> Option<&str> {
        self.hint()
    }
}

impl CliFailure for AppError {
    fn exit(&self) -> Exit {
        match self {
            Self::Running { .. } => Exit::Refused,
            Self::Socket(error) if error.is_in_use() => Exit::Refused,
            _ => Exit::Failed,
        }
    }
}

impl From<FailureKind> for Exit {
    fn from(kind: FailureKind) -> Self {
        match kind {
            FailureKind::Usage => Self::Usage,
            FailureKind::Refused => Self::Refused,
            FailureKind::Unreachable => Self::Unreachable,
            FailureKind::Failed => Self::Failed,
        }
    }
}

/// The cause as one of the errors of this program that have an exit code.
fn failure<'a>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a dyn CliFailure> {
    fn of<'a, F: CliFailure>(cause: &'a (dyn std::error::Error + 'static)) -> Option<&'a dyn CliFailure> {
        cause.downcast_ref::<F>().map(|failure| failure as &dyn CliFailure)
    }
    of::<ConfigError>(cause)
        .or_else(|| of::<KeysError>(cause))
        .or_else(|| of::<TokenCommandError>(cause))
        .or_else(|| of::<StatusError>(cause))
        .or_else(|| of::<AppError>(cause))
}

/// Prints an error: what failed, each cause on a line of its own, and a hint if there is one.
pub fn tell(error: &anyhow::Error, out: &mut Output) {
    out.talk(&format!("error: {error}"));
    for cause in error.chain().skip(1) {
        out.talk(&format!("  {cause}"));
    }
    if let Some(hint) = error.chain().filter_map(failure).find_map(CliFailure::hint) {
        out.talk(&format!("hint: {hint}"));
    }
}
