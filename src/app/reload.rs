//! Applies a changed configuration file without dropping a request; if the file is broken, the old configuration stays.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::signal::unix::Signal;

use crate::app::ConfigSource;
use crate::config::Config;
use crate::config::changes;
use crate::config::keep_good_copy;
use crate::envelope::Envelope;
use crate::files::io_thread::FileThread;
use crate::files::stamp::Stamp;
use crate::listener::peers::Peers;
use crate::telemetry::log::LevelSwitch;
use crate::telemetry::log::chain;
use crate::telemetry::metrics::Metrics;

/// Interval at which the file is checked for changes.
const LOOK_AT_FILE: Duration = Duration::from_secs(5);

/// The parts that can change while they run.
pub(super) struct Reloadable {
    pub(super) files: FileThread,
    pub(super) envelope: Envelope,
    pub(super) peers: Peers,
    pub(super) level: LevelSwitch,
    pub(super) request_lines: Arc<AtomicBool>,
    pub(super) metrics: Metrics,
}

/// The task that reloads.
pub(super) struct Reload {
    /// The configuration in effect.
    pub(super) config: Config,
    pub(super) source: Option<ConfigSource>,
    pub(super) parts: Reloadable,
}

impl Reload {
    /// Reloads at SIGHUP and when the file has changed. Never returns.
    pub(super) async fn run(mut self, mut hangups: Signal) {
        let mut seen = self.stamp().await;
        self.start().await;
        loop {
            let asked = tokio::select! {
                _ = hangups.recv() => true,
                () = tokio::time::sleep(LOOK_AT_FILE) => false,
            };
            let stamp = self.stamp().await;
            if asked {
                tracing::info!("SIGHUP: reading the configuration and listing the versions");
                self.parts.envelope.refresh();
            }
            if asked || stamp != seen {
                self.reload().await;
            }
            seen = stamp;
        }
    }

    /// Logs whether the daemon started with the file or its good copy, and keeps a copy of a good file.
    async fn start(&mut self) {
        let Some(ConfigSource { broken, .. }) = &mut self.source else {
            return;
        };
        if let Some(error) = broken.take() {
            self.parts.metrics.config_broken.set(1);
            let error = chain(error.as_ref());
            tracing::error!(
                error,
                "the configuration file is broken: started with the last good copy of it"
            );
        } else {
            self.reload().await;
        }
    }

    async fn reload(&mut self) {
        let Some(ConfigSource { file, overrides, .. }) = &self.source else {
            return;
        };
        let (path, overrides, state) = (file.clone(), overrides.clone(), self.config.state.clone());
        let read = self.parts.files.run(move || {
            let content = Config::read(&path)?;
            let config = Config::parse(&path, &content, &overrides)?;
            let kept = keep_good_copy(&state, &path, &content);
            Ok::<_, crate::config::ConfigError>((config, kept))
        });
        match read.await {
            Ok(Ok((config, kept))) => {
                self.parts.metrics.config_broken.set(0);
                if let Err(error) = kept {
                    tracing::warn!(error = chain(&error), "cannot keep a copy of the good configuration");
                }
                self.apply(&config);
            }
            Ok(Err(error)) => {
                self.parts.metrics.config_broken.set(1);
                tracing::error!(
                    error = chain(&error),
                    hint = error.hint,
                    "the changed configuration is refused; the old one stays in effect"
                );
            }
            Err(stopped) => tracing::error!(error = chain(&stopped), "the configuration can no longer be read"),
        }
    }

    fn apply(&mut self, new: &Config) {
        let changes = changes(&self.config, new);
        if changes.is_empty() {
            return;
        }
        if !changes.needs_restart.is_empty() {
            tracing::warn!(settings = ?changes.needs_restart, "these settings change only after a restart");
        }
        if changes.reloadable.is_empty() {
            return;
        }
        self.config.reload(new);
        let Reloadable {
            envelope,
            peers,
            level,
            request_lines,
            ..
        } = &self.parts;
        envelope.set_policy(self.config.policy.clone());
        peers.set(&self.config.listener.peers);
        level.set(self.config.log.level);
        request_lines.store(self.config.kms.log_requests, Ordering::Relaxed);
        tracing::info!(settings = ?changes.reloadable, "these settings changed");
    }

    /// The file's current stamp, which differs after a change. Follows symbolic links: Kubernetes updates mounted files
    /// by replacing a link.
    async fn stamp(&self) -> Option<Stamp> {
        let path = self.source.as_ref()?.file.clone();
        let metadata = self.parts.files.run(move || path.metadata()).await.ok()?;
        Some(Stamp::of(&metadata.ok()?))
    }
}
