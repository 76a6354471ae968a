//! Logs and metrics about workers: one line for each loss and each recovery.

use std::sync::Arc;

use crate::backend::pkcs11::first_login::FirstLogin;
use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::message::Level;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::name::RootKeyName;
use crate::telemetry::limit::LineLimit;
use crate::telemetry::metrics::Metrics;
use crate::telemetry::metrics::RootKeyLabels;
use crate::telemetry::metrics::TokenCallLabels;
use crate::telemetry::metrics::WorkerStartLabels;
use crate::token::problem::Failure;

/// The most lines of workers in a second.
const LINES: u32 = 10;

/// The reason for the start of a worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// There was none before.
    Start,
    /// The previous one died.
    Died,
    /// The previous one did not answer in time.
    Hung,
    /// The previous one could not continue, and requested its replacement.
    Asked,
    /// The previous one has used half of its memory limit.
    Memory,
}

impl Reason {
    fn name(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Died => "died",
            Self::Hung => "hung",
            Self::Asked => "asked",
            Self::Memory => "memory",
        }
    }
}

/// Reports the events of one root key's workers.
#[derive(Debug)]
pub(super) struct Journal {
    root_key: RootKeyName,
    metrics: Metrics,
    events: Arc<Events>,
    /// The current trouble, as last logged.
    trouble: Option<String>,
    /// The warnings of the last worker.
    warnings: Vec<String>,
}

impl Journal {
    pub(super) fn new(root_key: RootKeyName, metrics: Metrics, first_login: FirstLogin) -> Self {
        let events = Events {
            root_key: root_key.clone(),
            first_login,
            limit: LineLimit::new(LINES),
        };
        Self {
            root_key,
            metrics,
            events: Arc::new(events),
            trouble: None,
            warnings: Vec::new(),
        }
    }

    pub(super) fn events(&self) -> &Arc<Events> {
        &self.events
    }

    /// A worker is being started.
    pub(super) fn starting(&self, reason: Reason) {
        let labels = WorkerStartLabels {
            root_key: self.root_key.to_string(),
            reason: reason.name(),
        };
        self.metrics.worker_starts.get_or_create(&labels).inc();
    }

    /// A worker serves, without these protections. A warning that the last worker had too is not logged again.
    pub(super) fn warned(&mut self, warnings: Vec<String>) {
        let root_key = &self.root_key;
        for warning in warnings.iter().filter(|warning| !self.warnings.contains(warning)) {
            tracing::warn!(%root_key, warning, "a protection of the token worker is missing");
        }
        self.warnings = warnings;
    }

    /// A worker serves.
    pub(super) fn opened(&mut self, reason: Reason, memory: u64) {
        self.called(&Call::Open, Ok(()));
        self.pin_rejected(false);
        self.memory(memory);
        let root_key = &self.root_key;
        match (self.trouble.take(), reason) {
            (Some(_), _) => tracing::info!(%root_key, "the token can be used again"),
            (None, Reason::Memory) => tracing::info!(%root_key, "another token worker has taken over"),
            (None, _) => tracing::info!(%root_key, "the token can be used"),
        }
    }

    /// A worker could not start, or could not open its token. `printed` is what modules have printed just now.
    pub(super) fn not_opened(&mut self, failure: &Failure, printed: Option<&str>) {
        self.called(&Call::Open, Err(&failure.error));
        let (root_key, error) = (&self.root_key, failure.error.chain());
        if self.trouble.as_ref() == Some(&error) {
            tracing::debug!(%root_key, error, "the token still can't be used");
        } else if failure.pin_rejected {
            tracing::error!(%root_key, error, printed, "the token can't be used until the PIN is corrected");
            self.trouble = Some(error);
        } else {
            tracing::warn!(%root_key, error, printed, "the token can't be used; dekhand keeps trying");
            self.trouble = Some(error);
        }
    }

    /// The worker that served is lost. `printed` is what modules have printed just now.
    pub(super) fn lost(&mut self, reason: Reason, error: &Error, printed: Option<&str>) {
        let (root_key, error, reason) = (&self.root_key, error.chain(), reason.name());
        tracing::warn!(%root_key, reason, error, printed, "the token worker is lost; another one is started");
        self.trouble = Some(error);
    }

    /// The worker has grown too large.
    pub(super) fn too_large(&self, bytes: u64, limit: u64) {
        let root_key = &self.root_key;
        tracing::info!(%root_key, bytes, limit, "the token worker has used half of its memory; another one is started");
    }

    /// The memory that a worker uses.
    pub(super) fn memory(&self, bytes: u64) {
        let gauge = self.metrics.worker_memory.get_or_create(&self.labels()).clone();
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    /// The token has rejected the PIN, or accepted it.
    pub(super) fn pin_rejected(&self, rejected: bool) {
        let gauge = self.metrics.pin_rejected.get_or_create(&self.labels()).clone();
        gauge.set(rejected.into());
    }

    /// A call has ended.
    pub(super) fn called(&self, call: &Call, result: Result<(), &Error>) {
        let labels = TokenCallLabels {
            root_key: self.root_key.to_string(),
            call: name(call),
            outcome: match result.map_err(Error::kind) {
                Ok(()) => "good",
                Err(Kind::Outage) => "outage",
                Err(Kind::Refusal) => "refusal",
                Err(Kind::Corruption) => "corruption",
                Err(Kind::BadInput) => "bad_input",
                Err(Kind::Busy) => "busy",
            },
        };
        self.metrics.token_calls.get_or_create(&labels).inc();
    }

    fn labels(&self) -> RootKeyLabels {
        RootKeyLabels {
            root_key: self.root_key.to_string(),
        }
    }
}

fn name(call: &Call) -> &'static str {
    match call {
        Call::Open => "open",
        Call::Find { .. } => "find",
        Call::Wrap { .. } => "wrap",
        Call::Unwrap { .. } => "unwrap",
        Call::Tokens => "tokens",
        Call::Describe => "describe",
        Call::Probe { .. } => "probe",
        Call::Attributes { .. } => "attributes",
        Call::Generate { .. } => "generate",
        Call::Import { .. } => "import",
        Call::Relabel { .. } => "relabel",
        Call::Destroy { .. } => "destroy",
    }
}

/// Logs the events that workers report.
#[derive(Debug)]
pub(super) struct Events {
    root_key: RootKeyName,
    first_login: FirstLogin,
    limit: LineLimit,
}

impl Events {
    pub(super) fn first_login(&self) -> &FirstLogin {
        &self.first_login
    }

    pub(super) fn tell(&self, level: Level, message: &str) {
        let Some(suppressed) = self.limit.pass() else {
            return;
        };
        let root_key = &self.root_key;
        match level {
            Level::Error => tracing::error!(%root_key, event = message, suppressed, "the token worker reports"),
            Level::Warn => tracing::warn!(%root_key, event = message, suppressed, "the token worker reports"),
            Level::Info => tracing::info!(%root_key, event = message, suppressed, "the token worker reports"),
            Level::Debug => tracing::debug!(%root_key, event = message, suppressed, "the token worker reports"),
        }
    }
}
