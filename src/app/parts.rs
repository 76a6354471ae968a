//! Builds every part of the daemon from its options.

use std::os::unix::net::UnixListener;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::app::AppError;
use crate::app::reload::Reloadable;
use crate::backend::keyring::Keyring;
use crate::backend::pkcs11::Pkcs11;
use crate::backend::pkcs11::first_login::FirstLogin;
use crate::backend::pkcs11::notices::Notices;
use crate::backend::pkcs11::spawner::Spawner;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::RootKeyEntry;
use crate::config::RootKeyStore;
use crate::envelope;
use crate::envelope::Envelope;
use crate::files::io_thread::FileThread;
use crate::health::Health;
use crate::http::Http;
use crate::kms;
use crate::listener::Listener;
use crate::root_key::RootKey;
use crate::root_key::high_water::HighWaterFile;
use crate::root_key::name::RootKeyName;
use crate::telemetry::log::Log;
use crate::telemetry::log::chain;
use crate::telemetry::metrics::Metrics;
use crate::token::assignment::Role;
use crate::token::proof_record::ProofRecord;

/// The parts of a running daemon.
pub(super) struct DaemonParts {
    pub(super) listener: Listener,
    pub(super) service: tonic::service::Routes,
    pub(super) envelope: Envelope,
    pub(super) health: Health,
    /// The operators' HTTP server stops when this is dropped.
    pub(super) http: Option<Http>,
    pub(super) reloadable: Reloadable,
    /// Each completes when its token can no longer be called.
    pub(super) tokens_stopped: Vec<Stopped>,
    /// The first logins of all tokens.
    pub(super) first_logins: Vec<FirstLogin>,
}

pub(super) type Stopped = Pin<Box<dyn Future<Output = ()> + Send>>;

impl DaemonParts {
    /// Builds all parts. When this returns, the KMS socket is open but not yet served.
    pub(super) fn build(
        config: &Config,
        log: &Log,
        adopted: Option<UnixListener>,
        spawner: Option<&Spawner>,
    ) -> Result<Self, AppError> {
        let clock = Clock::system();
        let metrics = Metrics::new();
        metrics.show_dropped_lines(log.dropped());
        let files = FileThread::start().map_err(AppError::system("start the file thread"))?;
        let listener = Listener::open(&config.listener, config.name.as_str(), adopted, metrics.clone())?;
        note_upgrade(config);
        let mut stores = Stores {
            files: &files,
            spawner,
            metrics: &metrics,
            tokens_stopped: Vec::new(),
            first_logins: Vec::new(),
            notices: Vec::new(),
        };
        let entries = config.root_keys.iter();
        let envelope = Envelope::new(envelope::Parts {
            stores: entries.map(|entry| stores.store(entry)).collect::<Result<_, _>>()?,
            purposes: config.kms.purposes(),
            policy: config.policy.clone(),
            high_water: HighWaterFile::of(&config.state),
            files: files.clone(),
            clock: clock.clone(),
            metrics: metrics.clone(),
        });
        let Stores {
            tokens_stopped,
            first_logins,
            notices,
            ..
        } = stores;
        let health = Health::new(clock);
        require_readiness(&health, &listener, &envelope);
        show_notices(&health, notices);
        let http = config
            .http
            .map(|address| Http::start(address, health.clone(), metrics.clone()));
        let http = http
            .transpose()
            .map_err(AppError::system("start the operators' HTTP thread"))?;
        let request_lines = Arc::new(AtomicBool::new(config.kms.log_requests));
        let service = kms::routes(envelope.clone(), &config.kms, request_lines.clone());
        let reloadable = Reloadable {
            files,
            envelope: envelope.clone(),
            peers: listener.peers(),
            level: log.level_switch(),
            request_lines,
            metrics,
        };
        Ok(Self {
            listener,
            service,
            envelope,
            health,
            http,
            reloadable,
            tokens_stopped,
            first_logins,
        })
    }
}

/// The daemon is ready if callers reach the socket and Encrypt and Decrypt would succeed.
fn require_readiness(health: &Health, listener: &Listener, envelope: &Envelope) {
    let claim = listener.claim();
    health.require("socket", move || claim.verdict());
    let envelope = envelope.clone();
    health.require("root-key", move || envelope.health().map_err(|error| error.to_string()));
}

/// Shows the notices about ignored objects in tokens beside the readiness checks. A notice never fails readiness.
fn show_notices(health: &Health, notices: Vec<(RootKeyName, Notices)>) {
    if notices.is_empty() {
        return;
    }
    health.require("token-keys", move || {
        let line = |(name, notices): &(RootKeyName, Notices)| format!("{name}: {}", notices.last().line());
        Ok(notices.iter().map(line).collect::<Vec<_>>().join("; "))
    });
}

/// Records, before any worker lists versions, which root keys in tokens an earlier release may have decrypted with on
/// this node. The first root key needs no such record: its high-water mark has the versions that the node has reported.
fn note_upgrade(config: &Config) {
    let is_in_token = |entry: &&RootKeyEntry| matches!(entry.store, RootKeyStore::Pkcs11(_));
    let only_decrypt = config.root_keys.iter().skip(1).filter(is_in_token);
    let names = |is_used: bool| {
        only_decrypt
            .filter(|_| is_used)
            .map(|entry| entry.name.clone())
            .collect()
    };
    let record = ProofRecord::of(&config.state);
    let noted = match HighWaterFile::of(&config.state).has_any() {
        Ok(is_used) => record.note_upgrade(names(is_used)).map_err(|error| chain(&error)),
        Err(error) => Err(chain(&error)),
    };
    if let Err(error) = noted {
        tracing::warn!(
            error,
            "cannot record which root keys an earlier release may have used on this node"
        );
    }
}

/// Opens the stores of the root keys.
struct Stores<'a> {
    files: &'a FileThread,
    spawner: Option<&'a Spawner>,
    metrics: &'a Metrics,
    tokens_stopped: Vec<Stopped>,
    first_logins: Vec<FirstLogin>,
    notices: Vec<(RootKeyName, Notices)>,
}

impl Stores<'_> {
    fn store(&mut self, entry: &RootKeyEntry) -> Result<envelope::Store, AppError> {
        let name = entry.name.clone();
        let root_key: Arc<dyn RootKey> = match &entry.store {
            RootKeyStore::Keyring(options) => Arc::new(Keyring::new(options, name.clone(), self.files.clone())),
            RootKeyStore::Pkcs11(_) => {
                // The spawner has an assignment for every root key in a token.
                let workers = self.spawner.and_then(|spawner| spawner.workers(&name, Role::Daemon));
                let token = Pkcs11::start(workers.ok_or(AppError::SpawnerDied)?, self.metrics.clone());
                self.tokens_stopped.push(Box::pin(token.stopped()));
                self.first_logins.push(token.first_login());
                self.notices.push((name.clone(), token.notices()));
                Arc::new(token)
            }
        };
        Ok(envelope::Store { name, root_key })
    }
}
