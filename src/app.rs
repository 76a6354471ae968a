//! Builds the parts in order, runs them, and drains them. No other module imports all parts.

pub mod dev;
mod parts;
mod ready;
mod reload;
mod signals;

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinSet;

use crate::app::parts::DaemonParts;
use crate::app::reload::Reload;
use crate::app::signals::Signals;
use crate::backend::pkcs11::spawner::Prints;
use crate::backend::pkcs11::spawner::Spawner;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Overrides;
use crate::config::RootKeyEntry;
use crate::config::RootKeyStore;
use crate::files;
use crate::files::FileError;
use crate::files::instance_lock;
use crate::files::instance_lock::OwnerError;
use crate::hardening;
use crate::hardening::HardeningError;
use crate::listener::socket::SocketError;
use crate::telemetry::log::Log;
use crate::telemetry::log::log_panics_by_place;
use crate::token::assignment::Assignment;
use crate::token::assignment::Role;

/// Interval at which the gRPC runtime reports that it is running.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Tasks between two polls of the sockets by the gRPC runtime. tokio's default of 61 is several rounds of all
/// connections, and a flood makes each round long. A poll costs a microsecond.
const TASKS_BETWEEN_LOOKS: u32 = 8;

/// What `serve` runs.
#[derive(Debug)]
pub struct Start {
    /// The configuration.
    pub config: Config,
    /// The file that it came from; without a file nothing is reloaded.
    pub source: Option<ConfigSource>,
}

/// The file of a configuration, and the options that override it.
#[derive(Debug)]
pub struct ConfigSource {
    /// The file.
    pub file: PathBuf,
    /// Command-line options that override the file.
    pub overrides: Overrides,
    /// The error in the file, if the daemon started with the good copy instead.
    pub broken: Option<Box<ConfigError>>,
}

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The state directory cannot be used.
    #[error("the state directory cannot be used")]
    State(#[from] FileError),
    /// Another daemon has this state directory.
    #[error("the state directory {state} is in use by {holder}; stop that daemon first")]
    Running {
        /// The directory.
        state: PathBuf,
        /// The other daemon, as its lock file names it.
        holder: String,
    },
    /// The KMS socket cannot be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A required hardening step is unavailable.
    #[error(transparent)]
    Hardening(#[from] HardeningError),
    /// A background task has panicked.
    #[error("a background task of the daemon has panicked (see the log): this is a defect, please report it")]
    PartDied,
    /// The spawner was killed, or has died. The daemon cannot start another one: hardening took away that right.
    #[error("the process that starts token workers has ended; restart the daemon to start it again")]
    SpawnerDied,
    /// The operating system refused something that every daemon needs.
    #[error("cannot {action}")]
    System {
        /// The attempted action.
        action: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
}

impl AppError {
    fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// Runs the daemon until a signal stops it. `listening` is called once, when callers can connect.
///
/// # Errors
/// The daemon did not start, or could not continue.
pub fn serve(start: Start, listening: impl FnOnce()) -> Result<(), AppError> {
    let Start { config, source } = start;
    // First: any other code could close or reuse the descriptors of inherited sockets.
    let adopted = crate::listener::socket::activation::take()?;

    // Before hardening: the spawner would inherit the system-call filter, which refuses to start programs. Before the
    // first thread, too. The spawner receives its only list of assignments here, before the first caller.
    let spawner = spawner(&config).map_err(AppError::system("start the spawner of token workers"))?;

    let _state = own_state(&config)?;
    let hardening_warnings = hardening::apply(&config.hardening)?;

    // The first thread. Messages from here on go to the log.
    let log = Log::start(config.log.level, config.log.format)
        .map_err(io::Error::other)
        .map_err(AppError::system("start the log"))?;
    log_panics_by_place();
    for warning in hardening_warnings {
        tracing::warn!(warning, "a hardening step is unavailable");
    }
    if let Some(spawner) = &spawner {
        spawner
            .log_prints()
            .map_err(AppError::system("start the thread that logs what modules print"))?;
    }
    for warning in config.conflicts() {
        tracing::warn!(warning, "settings do not work together");
    }

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(TASKS_BETWEEN_LOOKS)
        .build()
        .map_err(AppError::system("start the runtime"))?;
    let outcome = runtime.block_on(run(config, source, &log, adopted, spawner.clone(), listening));
    // Does not wait for tasks that still wait for a root key. This also closes the workers' channels.
    runtime.shutdown_background();
    // Last: workers close their sessions before this process ends, since they are killed with it.
    if let Some(spawner) = spawner {
        spawner.end();
    }
    outcome
}

/// The spawner of token workers, if any root key is in a token.
fn spawner(config: &Config) -> io::Result<Option<Spawner>> {
    let of_entry = |entry: &RootKeyEntry| match &entry.store {
        RootKeyStore::Keyring(_) => None,
        RootKeyStore::Pkcs11(options) => Some(Assignment {
            role: Role::Daemon,
            root_key: entry.name.clone(),
            options: options.as_ref().clone(),
            state: Some(config.state.clone()),
            memory: config.worker_memory,
            lock_memory: config.hardening.lock_memory,
        }),
    };
    let assignments: Vec<_> = config.root_keys.iter().filter_map(of_entry).collect();
    let needed = !assignments.is_empty();
    needed.then(|| Spawner::start(Prints::ToLog, assignments)).transpose()
}

/// Locks the state directory: two daemons would record different primaries in it.
fn own_state(config: &Config) -> Result<files::Lock, AppError> {
    files::private_directory(&config.state)?;
    instance_lock::take(&config.state.join("lock"), config.name.as_str()).map_err(|error| match error {
        OwnerError::Held(holder) => AppError::Running {
            state: config.state.clone(),
            holder,
        },
        OwnerError::File(error) => error.into(),
    })
}

async fn run(
    config: Config,
    source: Option<ConfigSource>,
    log: &Log,
    adopted: Option<std::os::unix::net::UnixListener>,
    spawner: Option<Spawner>,
    listening: impl FnOnce(),
) -> Result<(), AppError> {
    let mut signals = Signals::listen().map_err(AppError::system("listen for signals"))?;
    let hangups = signals::hangups().map_err(AppError::system("listen for signals"))?;
    let parts = DaemonParts::build(&config, log, adopted, spawner.as_ref())?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %parts.listener.address(),
        pid = std::process::id(),
        "dekhand serves"
    );
    listening();
    let DaemonParts {
        listener,
        service,
        envelope,
        health,
        http,
        reloadable,
        tokens_stopped,
        first_logins,
    } = parts;

    let mut parts = JoinSet::new();
    for stopped in tokens_stopped {
        parts.spawn(async move {
            stopped.await;
            AppError::PartDied
        });
    }
    if let Some(spawner) = spawner {
        parts.spawn(async move {
            match spawner.gone().await {
                Ok(()) => AppError::SpawnerDied,
                Err(error) => AppError::system("watch the spawner of token workers")(error),
            }
        });
    }
    let running = envelope.clone();
    parts.spawn(async move {
        running.run().await;
        AppError::PartDied
    });
    parts.spawn(async move {
        loop {
            health.beat();
            tokio::time::sleep(HEARTBEAT).await;
        }
    });
    let reload = Reload {
        config,
        source,
        parts: reloadable,
    };
    parts.spawn(async move {
        reload.run(hangups).await;
        AppError::PartDied
    });

    tokio::spawn(async move { ready::tell(&envelope, &first_logins).await });

    let (drain, draining) = tokio::sync::oneshot::channel();
    let mut serving = pin!(listener.serve(service, async move {
        draining.await.ok();
    }));
    let served = tokio::select! {
        served = &mut serving => served,
        // These tasks never return: one that ended has panicked. A restart is better than a daemon that looks healthy.
        ended = parts.join_next() => return Err(match ended {
            Some(Ok(error)) => error,
            Some(Err(_)) | None => AppError::PartDied,
        }),
        signal = signals.stop() => {
            tracing::info!(signal, "stopping: finishing requests in flight; a second signal ends the daemon at once");
            sd_notify::notify(&[NotifyState::Stopping]).ok();
            drain.send(()).ok();
            tokio::select! {
                served = &mut serving => served,
                signal = signals.stop() => {
                    tracing::warn!(signal, "second signal: ended without finishing requests in flight");
                    Ok(())
                }
            }
        }
    };
    drop(http);
    tracing::info!("stopped");
    served.map_err(AppError::system("serve the KMS socket"))
}
