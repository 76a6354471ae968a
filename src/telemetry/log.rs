//! Log lines on stderr, written by a separate thread from a bounded queue. A full queue drops lines and never blocks.

use std::fmt;
use std::io;
use std::io::IsTerminal as _;
use std::str::FromStr;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use serde::Deserialize;
use serde::Serialize;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::ErrorCounter;
use tracing_appender::non_blocking::NonBlockingBuilder;
use tracing_appender::non_blocking::WorkerGuard;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;

/// At most this many lines wait for a slow reader of stderr; further lines are dropped and counted.
const QUEUED_LINES: usize = 4096;

/// The options of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// The log level. Can change while the daemon runs.
    pub level: LogLevel,
    /// The format of lines.
    pub format: LogFormat,
}

/// The log level.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogLevel {
    /// Failures.
    Error,
    /// Events that an operator should look into.
    Warn,
    /// Events that an operator would mention to a colleague.
    #[default]
    Info,
    /// Details for developers.
    Debug,
}

impl LogLevel {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

/// The format of lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// The word is not in the list.
#[derive(Debug, thiserror::Error)]
#[error("not one of {0}")]
pub struct NotAWord(&'static str);

impl FromStr for LogLevel {
    type Err = NotAWord;

    fn from_str(word: &str) -> Result<Self, NotAWord> {
        match word {
            "error" => Ok(Self::Error),
            "warn" => Ok(Self::Warn),
            "info" => Ok(Self::Info),
            "debug" => Ok(Self::Debug),
            _ => Err(NotAWord("error, warn, info, debug")),
        }
    }
}

impl FromStr for LogFormat {
    type Err = NotAWord;

    fn from_str(word: &str) -> Result<Self, NotAWord> {
        match word {
            "auto" => Ok(Self::Auto),
            "json" => Ok(Self::Json),
            "text" => Ok(Self::Text),
            _ => Err(NotAWord("auto, json, text")),
        }
    }
}

/// The limit for writing out the queue at the end. If nothing reads stderr, the remaining lines are lost.
const FLUSH_TIME: Duration = Duration::from_millis(500);

/// The running log. Dropping it writes out the queue, for up to 500 ms.
pub struct Log {
    level: reload::Handle<LevelFilter, tracing_subscriber::Registry>,
    dropped: ErrorCounter,
    writer: Option<WorkerGuard>,
}

impl Drop for Log {
    fn drop(&mut self) {
        // The guard waits for the writer, and prints if the queue stays full. Both can hang if nothing reads stderr.
        let writer = self.writer.take();
        let (flushed, end) = mpsc::channel::<()>();
        let flush = thread::Builder::new().name("flush".into()).spawn(move || {
            drop(writer);
            drop(flushed);
        });
        if flush.is_ok() {
            end.recv_timeout(FLUSH_TIME).ok();
        }
    }
}

impl Log {
    /// Starts the log thread. From now on it receives all events of this process.
    ///
    /// # Errors
    /// A log is already running.
    pub fn start(level: LogLevel, format: LogFormat) -> Result<Self, tracing::subscriber::SetGlobalDefaultError> {
        let (queue, writer) = NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUED_LINES)
            .lossy(true)
            .thread_name("log")
            .finish(io::stderr());
        let dropped = queue.error_counter();
        let (filter, handle) = reload::Layer::new(level.filter());
        let terminal = io::stderr().is_terminal();
        let json = match format {
            LogFormat::Json => true,
            LogFormat::Text => false,
            LogFormat::Auto => !terminal,
        };
        let lines = tracing_subscriber::fmt::layer().with_writer(queue).with_target(false);
        let registry = tracing_subscriber::registry().with(filter);
        if json {
            tracing::subscriber::set_global_default(registry.with(lines.json().flatten_event(true)))?;
        } else {
            tracing::subscriber::set_global_default(registry.with(lines.with_ansi(terminal)))?;
        }
        Ok(Self {
            level: handle,
            dropped,
            writer: Some(writer),
        })
    }

    /// A handle that changes the level while the log runs.
    pub fn level_switch(&self) -> LevelSwitch {
        LevelSwitch(self.level.clone())
    }

    /// A counter of the lines that were dropped because stderr was not read.
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Changes the log level. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LevelSwitch(reload::Handle<LevelFilter, tracing_subscriber::Registry>);

impl LevelSwitch {
    /// Changes the log level.
    pub fn set(&self, level: LogLevel) {
        // The layer lives as long as the process.
        self.0.reload(level.filter()).ok();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// Logs a panic as one line with its source location, but without its message, which may contain secrets.
pub fn log_panics_by_place() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic.location().map(ToString::to_string).unwrap_or_default();
        tracing::error!(
            place,
            "a part of the daemon panicked; this is a defect, please report it"
        );
    }));
}

/// An error's message and all its causes on one line.
pub fn chain(error: &dyn std::error::Error) -> String {
    let mut line = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        line.push_str(": ");
        line.push_str(&error.to_string());
        cause = error.source();
    }
    line
}
