//! `dekhand status`: calls the running daemon as kube-apiserver does.

mod error;
mod round;

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::time::Instant;

use crate::app;
use crate::cli::output::Output;
use crate::cli::output::OutputFormat;
use crate::cli::overrides;
use crate::cli::status::round::Alive;
use crate::cli::status::round::Printable;
use crate::config::Config;
use crate::config::DEFAULT_FILE;
use crate::config::Overrides;
use crate::listener::options::SocketAddress;
use crate::telemetry::log::chain;

pub use error::StatusError;

/// The pause between two attempts of `--wait`.
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(250);

/// The options of `status`.
#[derive(Clone, Debug, Args)]
pub struct StatusArgs {
    /// The daemon's socket: a path, or @name in the abstract namespace
    #[arg(long, value_name = "PATH", conflicts_with_all = ["config", "dev"], value_parser = overrides::socket)]
    socket: Option<SocketAddress>,
    /// The daemon's configuration file, which names its socket
    #[arg(long, value_name = "FILE", default_value = DEFAULT_FILE, conflicts_with = "dev")]
    config: PathBuf,
    /// The daemon that `serve --dev` runs
    #[arg(long)]
    dev: bool,
    /// The directory of --dev, if serve was given one
    #[arg(long, value_name = "DIR", requires = "dev")]
    dir: Option<PathBuf>,
    /// How long to wait for each response; kube-apiserver waits for 3s
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = positive_duration)]
    timeout: Duration,
    /// Try again until it succeeds, for at most this long: a daemon that has just started may wait before its first login
    #[arg(long, value_name = "TIME", value_parser = positive_duration)]
    wait: Option<Duration>,
    /// Check only that the daemon answers calls, whether or not it can encrypt: for liveness probes
    #[arg(long)]
    live: bool,
}

fn positive_duration(text: &str) -> Result<Duration, String> {
    match humantime::parse_duration(text) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        Ok(_) => Err("the duration must be longer than 0s".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Calls Status, Encrypt and Decrypt, and prints the outcome.
///
/// # Errors
/// A [`StatusError`]: the daemon does not respond, or a response is wrong; a
/// [`ConfigError`](crate::config::ConfigError).
pub fn run(args: &StatusArgs, out: &mut Output) -> anyhow::Result<()> {
    let socket = socket(args)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    if args.live {
        let outcome = runtime.block_on(patiently(args.wait, out, || round::live(&socket, args.timeout)));
        print(&socket, &outcome.as_ref().map(|()| Alive::of(&socket)), out);
        return outcome.map_err(Into::into);
    }
    let outcome = runtime.block_on(patiently(args.wait, out, || round::run(&socket, args.timeout)));
    print(&socket, &outcome.as_ref(), out);
    outcome.map(drop).map_err(Into::into)
}

/// Repeats an attempt until it succeeds, for up to `wait`, and tells the operator what it waits for.
async fn patiently<T, F: Future<Output = Result<T, StatusError>>>(
    wait: Option<Duration>,
    out: &mut Output,
    attempt: impl Fn() -> F,
) -> Result<T, StatusError> {
    let until = wait.and_then(|wait| Instant::now().checked_add(wait));
    let mut told = String::new();
    loop {
        let error = match attempt().await {
            Ok(outcome) => return Ok(outcome),
            Err(error) => error,
        };
        if until.is_none_or(|until| Instant::now() + BETWEEN_ATTEMPTS >= until) {
            return Err(error);
        }
        let now = format!("waiting: {}", chain(&error));
        if now != told {
            out.talk(&now);
            told = now;
        }
        tokio::time::sleep(BETWEEN_ATTEMPTS).await;
    }
}

fn socket(args: &StatusArgs) -> anyhow::Result<SocketAddress> {
    let StatusArgs {
        socket,
        config,
        dev,
        dir,
        timeout: _,
        wait: _,
        live: _,
    } = args;
    if let Some(socket) = socket {
        return Ok(socket.clone());
    }
    let config = if *dev {
        let directory = app::dev::directory(dir.as_deref())
            .ok_or_else(|| anyhow::anyhow!("neither XDG_STATE_HOME nor HOME is set: name a directory with --dir"))?;
        Config::dev(&directory, &Overrides::default())?
    } else if config == Path::new(DEFAULT_FILE) && !config.exists() {
        return Err(StatusError::Unnamed.into());
    } else {
        Config::load(config, &Overrides::default())?
    };
    Ok(config.listener.socket)
}

fn print<T: Serialize + Printable>(socket: &SocketAddress, outcome: &Result<T, &StatusError>, out: &mut Output) {
    match (out.format(), outcome) {
        (OutputFormat::Json, Ok(good)) => out.json(good),
        (OutputFormat::Json, Err(error)) => out.json(&json!({
            "ok": false,
            "socket": socket.to_string(),
            "error": error.to_string(),
            "code": error.code(),
        })),
        (OutputFormat::Text, Ok(good)) => out.data(&good.to_text()),
        // The caller prints the error, as for all commands.
        (OutputFormat::Text, Err(_)) => {}
    }
}
