//! Log lines on stderr, written by a thread of their own from a bounded queue that drops rather than waits.

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

/// Lines that wait for a slow reader of stderr; the next ones are dropped and counted.
const QUEUED_LINES: usize = 4096;

/// The options of the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogOptions {
    /// How much is logged. Can change while the daemon runs.
    pub level: Level,
    /// How a line looks.
    pub format: Format,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// What has failed.
    Error,
    /// What an operator should look at.
    Warn,
    /// What an operator would tell a colleague.
    #[default]
    Info,
    /// What a developer asks for.
    Debug,
}

impl Level {
    fn filter(self) -> LevelFilter {
        match self {
            Self::Error => LevelFilter::ERROR,
            Self::Warn => LevelFilter::WARN,
            Self::Info => LevelFilter::INFO,
            Self::Debug => LevelFilter::DEBUG,
        }
    }
}

/// How a line looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Text on a terminal, JSON elsewhere.
    #[default]
    Auto,
    /// One JSON object a line.
    Json,
    /// For people.
    Text,
}

/// A word is none of those that are known.
#[derive(Debug, thiserror::Error)]
#[error("not one of {0}")]
pub struct NotAWord(&'static str);

impl FromStr for Level {
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

impl FromStr for Format {
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

/// How long the queue may take to be written out at the end. Who does not read gets no more.
const FLUSH_TIME: Duration = Duration::from_millis(500);

/// The running log. The queue is written out, briefly, when this is dropped.
pub struct Log {
    level: reload::Handle<LevelFilter, tracing_subscriber::Registry>,
    dropped: ErrorCounter,
    writer: Option<WorkerGuard>,
}

impl Drop for Log {
    fn drop(&mut self) {
        // The guard waits for the writer, and prints when the queue stays full: both can last as long as nobody reads.
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
    /// Starts the log thread and takes all events of this process from here on.
    ///
    /// # Errors
    /// A log runs already.
    pub fn start(level: Level, format: Format) -> Result<Self, tracing::subscriber::SetGlobalDefaultError> {
        let (queue, writer) = NonBlockingBuilder::default()
            .buffered_lines_limit(QUEUED_LINES)
            .lossy(true)
            .thread_name("log")
            .finish(io::stderr());
        let dropped = queue.error_counter();
        let (filter, handle) = reload::Layer::new(level.filter());
        let terminal = io::stderr().is_terminal();
        let json = match format {
            Format::Json => true,
            Format::Text => false,
            Format::Auto => !terminal,
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

    /// Changes how much is logged while the log runs.
    pub fn level_switch(&self) -> LevelSwitch {
        LevelSwitch(self.level.clone())
    }

    /// A counter of the lines that were dropped because nobody read stderr.
    pub fn dropped(&self) -> ErrorCounter {
        self.dropped.clone()
    }
}

/// Changes how much is logged. Cheap to clone.
#[derive(Clone, Debug)]
pub struct LevelSwitch(reload::Handle<LevelFilter, tracing_subscriber::Registry>);

impl LevelSwitch {
    /// Logs so much from now on.
    pub fn set(&self, level: Level) {
        // The layer lives as long as the process: it can't be gone.
        self.0.reload(level.filter()).ok();
    }
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log").finish_non_exhaustive()
    }
}

/// Makes a panic one log line with its place. Its message stays out: it may hold what must not be logged.
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
