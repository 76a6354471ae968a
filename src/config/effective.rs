//! A configuration as a list of settings: the one place that knows how each is written and whether it can change.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;

use crate::backend::keyring::KeyringOptions;
use crate::config::Config;
use crate::config::name::DaemonName;
use crate::config::place::Step;
use crate::config::place::steps_of;
use crate::config::root_keys::RootKeyEntry;
use crate::config::root_keys::RootKeys;
use crate::config::root_keys::Store;
use crate::config::setting::API_VERSION;
use crate::config::show::duration_text;
use crate::envelope::policy::Policy;
use crate::hardening::HardeningOptions;
use crate::kms::options::KmsOptions;
use crate::listener::options::ListenerOptions;
use crate::listener::options::SocketAddress;
use crate::root_key::name::RootKeyName;
use crate::telemetry::log::LogOptions;

/// A setting with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// Its path in the schema: `root_keys[].name`.
    pub(super) setting: &'static str,
    /// Its path in this configuration: `root_keys[0].name`.
    pub(super) steps: Vec<Step>,
    pub(super) value: Value,
    /// Whether it can change while the daemon runs.
    pub(super) reloadable: bool,
}

#[derive(Default)]
struct Entries(Vec<Entry>);

impl Entries {
    fn add(&mut self, setting: &'static str, steps: Vec<Step>, reloadable: bool, value: impl Serialize) {
        self.0.push(Entry {
            setting,
            steps,
            // None of our values is one that JSON can't hold.
            value: serde_json::to_value(value).unwrap_or_default(),
            reloadable,
        });
    }

    /// A setting that can change while the daemon runs.
    fn reloadable(&mut self, setting: &'static str, value: impl Serialize) {
        self.add(setting, steps_of(setting), true, value);
    }

    /// A setting that is read at start.
    fn fixed(&mut self, setting: &'static str, value: impl Serialize) {
        self.add(setting, steps_of(setting), false, value);
    }

    /// A setting of one root key, read at start.
    fn of_root_key(&mut self, index: usize, setting: &'static str, value: impl Serialize) {
        let steps = steps_of(&setting.replacen("[]", &format!("[{index}]"), 1));
        self.add(setting, steps, false, value);
    }
}

/// Every setting of a configuration, in the order of the schema. A field that is added must be added here.
pub(super) fn entries(config: &Config) -> Vec<Entry> {
    let Config {
        name,
        state,
        listener,
        kms,
        http,
        root_keys,
        policy,
        log,
        hardening,
    } = config;
    let ListenerOptions { socket, mode, peers } = listener;
    let KmsOptions {
        status_version,
        log_requests,
    } = kms;
    let LogOptions { level, format } = log;
    let HardeningOptions { lock_memory, seccomp } = hardening;
    let mut list = Entries::default();
    list.fixed("apiVersion", API_VERSION);
    list.fixed("name", name.as_str());
    list.fixed("state", state.to_string_lossy());
    list.fixed("listen.socket", socket.to_string());
    if let SocketAddress::Path(_) = socket {
        list.fixed("listen.mode", format!("{mode:04o}"));
    }
    list.reloadable("listen.peers", peers);
    list.fixed("listen.status_version", status_version);
    match http {
        Some(address) => list.fixed("http.address", address.to_string()),
        None => list.fixed("http", "off"),
    }
    for (index, entry) in root_keys.iter().enumerate() {
        add_root_key(&mut list, index, entry);
    }
    add_policy(&mut list, policy);
    list.reloadable("log.level", level);
    list.fixed("log.format", format);
    list.reloadable("log.requests", log_requests);
    list.fixed("hardening.lock_memory", lock_memory);
    list.fixed("hardening.seccomp", seccomp);
    list.0
}

fn add_root_key(list: &mut Entries, index: usize, entry: &RootKeyEntry) {
    let RootKeyEntry { name, shared, store } = entry;
    list.of_root_key(index, "root_keys[].name", name);
    list.of_root_key(index, "root_keys[].shared", shared);
    match store {
        Store::Keyring(KeyringOptions { file }) => {
            list.of_root_key(index, "root_keys[].keyring.file", file.to_string_lossy());
        }
    }
}

fn add_policy(list: &mut Entries, policy: &Policy) {
    let Policy {
        suite,
        max_uses,
        max_age,
        reuse,
        cache_ttl,
        cache_capacity,
        tolerate,
        probe_interval,
    } = policy;
    list.reloadable("data_keys.suite", suite);
    list.reloadable("data_keys.max_uses", max_uses);
    list.reloadable("data_keys.max_age", duration_text(*max_age));
    list.reloadable("data_keys.reuse", reuse);
    list.reloadable("data_keys.cache.ttl", duration_text(*cache_ttl));
    list.reloadable("data_keys.cache.capacity", cache_capacity);
    list.reloadable("outage.tolerate", duration_text(*tolerate));
    list.reloadable("probe.interval", duration_text(*probe_interval));
}

/// The path of every setting that the schema knows, in its order.
pub fn known_settings() -> Vec<&'static str> {
    let file = PathBuf::from("/keyring.json");
    // One of every kind.
    let store = Store::Keyring(KeyringOptions { file });
    let root_keys = RootKeys::one(RootKeyEntry {
        name: RootKeyName::dev(),
        shared: false,
        store,
    });
    let config = Config::with_defaults(DaemonName::default(), root_keys);
    entries(&config).into_iter().map(|entry| entry.setting).collect()
}
