//! Builds the parts in order, runs them, and drains them: the only place that knows all parts.

pub mod dev;
mod parts;
mod reload;
mod signals;

use std::io;
use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinSet;

use crate::app::parts::Parts;
use crate::app::reload::Reload;
use crate::app::signals::Signals;
use crate::backend::pkcs11::spawner::Prints;
use crate::backend::pkcs11::spawner::Spawner;
use crate::config::Config;
use crate::config::ConfigError;
use crate::config::Overrides;
use crate::config::RootKeyEntry;
use crate::config::Store;
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

/// The gRPC runtime shows so often that it turns.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// The gRPC runtime looks for new bytes after so many tasks. tokio's 61 are several rounds of all connections, which callers
/// who flood make long; a look costs a microsecond.
const TASKS_BETWEEN_LOOKS: u32 = 8;

/// What `serve` runs.
#[derive(Debug)]
pub struct Start {
    /// The configuration.
    pub config: Config,
    /// Where it came from; without a file nothing is reloaded.
    pub source: Option<ConfigSource>,
}

/// The file of a configuration, and what the command line puts above it.
#[derive(Debug)]
pub struct ConfigSource {
    /// The file.
    pub file: PathBuf,
    /// Options that go before the file.
    pub overrides: Overrides,
    /// Why the good copy was taken instead of the file, if it was.
    pub broken: Option<Box<ConfigError>>,
}

/// Why the daemon did not start, or ended.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The state directory can't be used.
    #[error("the state directory cannot be used")]
    State(#[from] FileError),
    /// Another daemon has this state directory.
    #[error("the state directory {state} is in use by {holder}; stop that first")]
    Running {
        /// The directory.
        state: PathBuf,
        /// What the other one says of itself.
        holder: String,
    },
    /// The KMS socket can't be opened.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A protection that is required can't be had.
    #[error(transparent)]
    Hardening(#[from] HardeningError),
    /// A task that keeps the daemon up to date has panicked.
    #[error("a part of the daemon has stopped, as the log says; this is a defect, please report it")]
    PartDied,
    /// The spawner was killed, or has died. This process can't start another one, since it gave up what that needs.
    #[error("the process that starts token workers has ended; a new daemon starts a new one")]
    SpawnerDied,
    /// The operating system refused something that every daemon needs.
    #[error("cannot {action}")]
    System {
        /// What was tried.
        action: &'static str,
        /// The operating system's answer.
        source: io::Error,
    },
}

impl AppError {
    fn system(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::System { action, source }
    }
}

/// Runs the daemon until it is told to stop. `listening` is called once, when callers can connect.
///
/// # Errors
/// It did not start, or could not go on.
pub fn serve(start: Start, listening: impl FnOnce()) -> Result<(), AppError> {
    let Start { config, source } = start;
    // The state of this process: inherited sockets are taken before anything else can take their descriptors.
    let adopted = crate::listener::socket::activation::take()?;

    // Before hardening, whose filter it would inherit and which denies what it is for, and before the first thread. What
    // workers may be is said here, once, when nobody has called yet.
    let spawner = spawner(&config).map_err(AppError::system("start the spawner of token workers"))?;

    let _state = own_state(&config)?;
    let hardening_warnings = hardening::apply(&config.hardening)?;

    // The first thread: from here on what is said goes to the log.
    let log = Log::start(config.log.level, config.log.format)
        .map_err(io::Error::other)
        .map_err(AppError::system("start the log"))?;
    log_panics_by_place();
    for warning in hardening_warnings {
        tracing::warn!(warning, "a protection could not be had");
    }

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .event_interval(TASKS_BETWEEN_LOOKS)
        .build()
        .map_err(AppError::system("start the runtime"))?;
    let outcome = runtime.block_on(run(config, source, &log, adopted, spawner.clone(), listening));
    // Whatever still waits for a root key is not waited for. The workers' channels close with this.
    runtime.shutdown_background();
    // Last, when nobody calls any more: workers leave their tokens before this process ends and takes them along.
    if let Some(spawner) = spawner {
        spawner.end();
    }
    outcome
}

/// The spawner of token workers, if any root key is in a token.
fn spawner(config: &Config) -> io::Result<Option<Spawner>> {
    let of_entry = |entry: &RootKeyEntry| match &entry.store {
        Store::Keyring(_) => None,
        Store::Pkcs11(options) => Some(Assignment {
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
    needed.then(|| Spawner::start(Prints::Nowhere, assignments)).transpose()
}

/// One daemon for a state directory: two would write down different primaries.
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
    let parts = Parts::build(&config, log, adopted, spawner.as_ref())?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        socket = %parts.listener.address(),
        pid = std::process::id(),
        "dekhand serves"
    );
    listening();
    let Parts {
        listener,
        service,
        envelope,
        health,
        http,
        reloadable,
        tokens_stopped,
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
    parts.spawn(async move {
        envelope.run().await;
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

    // Who supervises us may start what depends on us. Without a supervisor nobody listens, and that is no error.
    sd_notify::notify(&[NotifyState::Ready]).ok();

    let (drain, draining) = tokio::sync::oneshot::channel();
    let mut serving = pin!(listener.serve(service, async move {
        draining.await.ok();
    }));
    let served = tokio::select! {
        served = &mut serving => served,
        // They run for ever: one that ended has panicked. A new process is better than one that only seems well.
        ended = parts.join_next() => return Err(match ended {
            Some(Ok(error)) => error,
            Some(Err(_)) | None => AppError::PartDied,
        }),
        signal = signals.stop() => {
            tracing::info!(signal, "stopping: requests in flight are finished; a second signal ends at once");
            sd_notify::notify(&[NotifyState::Stopping]).ok();
            drain.send(()).ok();
            tokio::select! {
                served = &mut serving => served,
                signal = signals.stop() => {
                    tracing::warn!(signal, "ended at once");
                    Ok(())
                }
            }
        }
    };
    drop(http);
    tracing::info!("stopped");
    served.map_err(AppError::system("serve the KMS socket"))
}
