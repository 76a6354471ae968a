//! A configuration as a list of settings. Only this module defines how each is written and whether it can change.

use std::path::PathBuf;

use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::backend::keyring::KeyringOptions;
use crate::clock::Timestamp;
use crate::config::Config;
use crate::config::location::PathStep;
use crate::config::location::steps_of;
use crate::config::name::DaemonName;
use crate::config::pkcs11::values::login_text;
use crate::config::root_keys::RootKeyEntry;
use crate::config::root_keys::RootKeyStore;
use crate::config::root_keys::RootKeys;
use crate::config::units::duration_text;
use crate::config::units::size_text;
use crate::config::values::API_VERSION;
use crate::envelope::policy::Policy;
use crate::hardening::HardeningOptions;
use crate::kms::options::KmsOptions;
use crate::listener::options::ListenerOptions;
use crate::listener::options::SocketAddress;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;
use crate::telemetry::log::LogOptions;
use crate::token::options::ListedVersion;
use crate::token::options::ObjectName;
use crate::token::options::Pkcs11Options;
use crate::token::pin::PinSource;
use crate::token::variable::EnvironmentVariable;
use crate::token::variable::VariableValue;

/// A setting with its value.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SettingEntry {
    /// Its path in the schema: `root_keys[].name`.
    pub(super) setting: &'static str,
    /// Its path in this configuration: `root_keys[0].name`.
    pub(super) steps: Vec<PathStep>,
    pub(super) value: Value,
    /// Whether it can change while the daemon runs.
    pub(super) reloadable: bool,
}

#[derive(Default)]
struct Entries(Vec<SettingEntry>);

impl Entries {
    fn add(&mut self, setting: &'static str, steps: Vec<PathStep>, reloadable: bool, value: impl Serialize) {
        self.0.push(SettingEntry {
            setting,
            steps,
            // JSON can represent every value of a configuration.
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
        self.of_lists(&[index], setting, value);
    }

    /// A setting of an item in nested lists, read at start.
    fn of_lists(&mut self, indices: &[usize], setting: &'static str, value: impl Serialize) {
        let path = indices.iter().fold(setting.to_owned(), |path, index| {
            path.replacen("[]", &format!("[{index}]"), 1)
        });
        self.add(setting, steps_of(&path), false, value);
    }
}

/// Every setting of a configuration, in the order of the schema. A field that is added must be added here.
pub(super) fn entries(config: &Config) -> Vec<SettingEntry> {
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
        worker_memory,
    } = config;
    let ListenerOptions {
        socket,
        mode,
        group,
        shared_directory,
        peers,
    } = listener;
    let KmsOptions {
        status_version,
        v1beta1,
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
        if let Some(group) = group {
            list.fixed("listen.group", group);
        }
        list.fixed("listen.shared_directory", shared_directory);
    }
    list.reloadable("listen.peers", peers);
    list.fixed("listen.status_version", status_version);
    list.fixed("listen.v1beta1", v1beta1);
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
    list.fixed("worker.memory", size_text(*worker_memory));
    list.0
}

fn add_root_key(list: &mut Entries, index: usize, entry: &RootKeyEntry) {
    let RootKeyEntry { name, shared, store } = entry;
    list.of_root_key(index, "root_keys[].name", name);
    list.of_root_key(index, "root_keys[].shared", shared);
    match store {
        RootKeyStore::Keyring(KeyringOptions { file }) => {
            list.of_root_key(index, "root_keys[].keyring.file", file.to_string_lossy());
        }
        RootKeyStore::Pkcs11(options) => add_pkcs11(list, index, options),
    }
}

/// Adds the settings of a token. A PIN is shown as its source.
fn add_pkcs11(list: &mut Entries, index: usize, options: &Pkcs11Options) {
    let Pkcs11Options {
        module,
        token,
        login,
        pin,
        admin_pin,
        sessions,
        call_timeout,
        open_timeout,
        mechanism,
        environment,
        versions,
        private,
        exportable,
    } = options;
    list.of_root_key(index, "root_keys[].pkcs11.module", module.to_string_lossy());
    list.of_root_key(index, "root_keys[].pkcs11.token", token.to_string());
    if let Some(pin) = pin {
        list.of_root_key(index, "root_keys[].pkcs11.pin", pin);
    }
    if let Some(pin) = admin_pin {
        list.of_root_key(index, "root_keys[].pkcs11.admin.pin", pin);
    }
    list.of_root_key(index, "root_keys[].pkcs11.login", login_text(*login));
    list.of_root_key(index, "root_keys[].pkcs11.sessions", sessions);
    list.of_root_key(index, "root_keys[].pkcs11.call_timeout", duration_text(*call_timeout));
    list.of_root_key(index, "root_keys[].pkcs11.open_timeout", duration_text(*open_timeout));
    list.of_root_key(index, "root_keys[].pkcs11.mechanism", mechanism);
    let variables = environment
        .iter()
        .map(|EnvironmentVariable { name, value }| match value {
            VariableValue::Text(text) => json!(format!("{name}={text}")),
            VariableValue::File(file) => json!({ "name": name, "file": file.to_string_lossy() }),
            VariableValue::Credential(credential) => json!({ "name": name, "credential": credential }),
        });
    list.of_root_key(index, "root_keys[].pkcs11.environment", variables.collect::<Vec<_>>());
    if versions.is_empty() {
        list.of_root_key(index, "root_keys[].pkcs11.versions", [(); 0]);
    }
    for (number, version) in versions.iter().enumerate() {
        add_version(list, [index, number], version);
    }
    list.of_root_key(index, "root_keys[].pkcs11.private", private);
    list.of_root_key(index, "root_keys[].pkcs11.exportable", exportable);
}

fn add_version(list: &mut Entries, indices: [usize; 2], version: &ListedVersion) {
    let ListedVersion {
        object,
        number,
        activates,
        retired,
    } = version;
    list.of_lists(&indices, "root_keys[].pkcs11.versions[].number", number);
    match object {
        ObjectName::Id(id) => list.of_lists(&indices, "root_keys[].pkcs11.versions[].id", id),
        ObjectName::Label(label) => list.of_lists(&indices, "root_keys[].pkcs11.versions[].label", label),
    }
    if let Some(moment) = activates {
        list.of_lists(&indices, "root_keys[].pkcs11.versions[].activates", moment);
    }
    if let Some(moment) = retired {
        list.of_lists(&indices, "root_keys[].pkcs11.versions[].retired", moment);
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

/// The path of every setting of the schema, in its order.
pub fn known_settings() -> Vec<&'static str> {
    let keyring = RootKeyStore::Keyring(KeyringOptions {
        file: PathBuf::from("/keyring.json"),
    });
    let of_every_kind = std::iter::once(keyring).chain(one_token());
    let entry = |store| RootKeyEntry {
        name: RootKeyName::dev(),
        shared: false,
        store,
    };
    let Some(root_keys) = RootKeys::from_list(of_every_kind.map(entry).collect()) else {
        return Vec::new();
    };
    let mut config = Config::with_defaults(DaemonName::default(), root_keys);
    config.listener.group = Some(0);
    let mut settings = Vec::new();
    for SettingEntry { setting, .. } in entries(&config) {
        if !settings.contains(&setting) {
            settings.push(setting);
        }
    }
    settings
}

/// A token with every optional setting.
fn one_token() -> Option<RootKeyStore> {
    let mut options = Pkcs11Options::new("/module.so".into(), "token".parse().ok()?);
    options.pin = Some(PinSource::Descriptor(3));
    options.admin_pin.clone_from(&options.pin);
    let id = ObjectName::Id("0000000000000000".parse().ok()?);
    let label = ObjectName::Label("label".to_owned());
    // No dates in the first version: in the schema's order they come after the label.
    for (object, moment) in [(id, None), (label, Some(Timestamp::from_unix(0)))] {
        options.versions.push(ListedVersion {
            object,
            number: Number::FIRST,
            activates: moment,
            retired: moment,
        });
    }
    Some(RootKeyStore::Pkcs11(Box::new(options)))
}
