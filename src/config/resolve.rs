//! Turns the parsed file into the options of the parts: defaults, and rules that concern several values.

use std::num::NonZeroUsize;
use std::path::PathBuf;

use crate::config::Config;
use crate::config::error::Fault;
use crate::config::error::FaultAt;
use crate::config::http::HttpChoice;
use crate::config::location;
use crate::config::location::steps_of;
use crate::config::name::DaemonName;
use crate::config::overrides::Overrides;
use crate::config::root_keys;
use crate::config::root_keys::RootKeys;
use crate::config::schema::CacheSection;
use crate::config::schema::ConfigFile;
use crate::config::schema::DataKeysSection;
use crate::config::schema::HardeningSection;
use crate::config::schema::ListenSection;
use crate::config::schema::LogSection;
use crate::config::schema::OutageSection;
use crate::config::schema::ProbeSection;
use crate::config::schema::WorkerSection;
use crate::config::units::MIB;
use crate::config::values::AbsolutePath;
use crate::config::values::ApiVersion;
use crate::config::values::Flag;
use crate::config::values::Gid;
use crate::config::values::Mode;
use crate::config::values::Size;
use crate::config::values::Span;
use crate::config::values::Uid;
use crate::config::values::Whole;
use crate::config::values::Word;
use crate::config::yaml::List;
use crate::config::yaml::Optional;
use crate::config::yaml::Required;
use crate::config::yaml::Section;
use crate::envelope::policy::Policy;
use crate::hardening::HardeningOptions;
use crate::kms::options::KmsOptions;
use crate::listener::options::ListenerOptions;
use crate::listener::options::SocketAddress;
use crate::telemetry::log::LogOptions;

/// The configuration made from a file, which was read from `text`, and the command line.
pub(super) fn build(file: ConfigFile, text: &str, overrides: &Overrides) -> Result<Config, FaultAt> {
    let ConfigFile {
        api_version: Required(ApiVersion),
        name: Optional(name),
        state: Optional(state),
        listen: Section(listen),
        http: Optional(http),
        root_keys: Required(List(root_keys)),
        data_keys: Section(data_keys),
        outage: Section(outage),
        probe: Section(probe),
        log: Section(log),
        hardening: Section(hardening),
        worker: Section(WorkerSection {
            memory: Optional(worker_memory),
        }),
    } = file;
    if listen.mode.0.is_some() {
        check_quoted(text, "listen.mode")?;
    }
    let default = Config::with_defaults(name.unwrap_or_default(), root_keys::list(root_keys)?);
    let (listener, kms) = listen_options(listen, default.listener, &default.kms)?;
    let (log, log_requests) = log_options(log, &default.log, kms.log_requests);
    let mut config = Config {
        name: default.name,
        state: state.map_or(default.state, |AbsolutePath(path)| path),
        listener,
        kms: KmsOptions { log_requests, ..kms },
        http: http.map_or(default.http, HttpChoice::address),
        root_keys: default.root_keys,
        policy: policy(data_keys, outage, probe, &default.policy),
        log,
        hardening: hardening_options(hardening, &default.hardening),
        worker_memory: worker_memory.map_or(default.worker_memory, |Size(bytes)| bytes),
    };
    config.override_with(overrides);
    Ok(config)
}

impl Config {
    /// The configuration of a file that has only a name and root keys.
    pub(super) fn with_defaults(name: DaemonName, root_keys: RootKeys) -> Self {
        Self {
            state: default_state(&name),
            listener: ListenerOptions {
                // Root: kube-apiserver runs as root nearly everywhere.
                peers: vec![0],
                ..ListenerOptions::at(SocketAddress::Path(format!("/run/{name}/kms.sock").into()))
            },
            kms: KmsOptions::default(),
            http: HttpChoice::default().address(),
            root_keys,
            policy: Policy::default(),
            log: LogOptions::default(),
            hardening: HardeningOptions::default(),
            worker_memory: 512 * MIB,
            name,
        }
    }

    pub(super) fn override_with(&mut self, overrides: &Overrides) {
        let Overrides {
            socket,
            http,
            log_level,
            log_format,
        } = overrides;
        if let Some(socket) = socket {
            self.listener.socket.clone_from(socket);
        }
        if let Some(http) = http {
            self.http = http.address();
        }
        self.log.level = log_level.unwrap_or(self.log.level);
        self.log.format = log_format.unwrap_or(self.log.format);
    }
}

/// Refuses unquoted digits: this parser reads them as text, others as an octal number by the rules of YAML 1.1.
fn check_quoted(text: &str, path: &str) -> Result<(), FaultAt> {
    let steps = steps_of(path);
    let first = location::of_value(text, &steps).and_then(|place| place.character(text));
    match first {
        Some(digit) if digit.is_ascii_digit() => {
            let refusal = Fault::new("expected a text in quotes, found digits without quotes");
            Err((steps, refusal.hint("write the mode in quotes, such as mode: \"0600\"")))
        }
        _ => Ok(()),
    }
}

/// The default state directory of a daemon.
pub(super) fn default_state(name: &DaemonName) -> PathBuf {
    PathBuf::from(format!("/var/lib/{name}"))
}

/// The options of the section `listen`: the socket, and the protocols on it.
fn listen_options(
    section: ListenSection,
    default: ListenerOptions,
    kms: &KmsOptions,
) -> Result<(ListenerOptions, KmsOptions), FaultAt> {
    let ListenSection {
        socket: Optional(socket),
        mode: Optional(mode),
        group: Optional(group),
        shared_directory: Optional(shared_directory),
        peers: Optional(peers),
        status_version: Optional(status_version),
        v1beta1: Optional(v1beta1),
    } = section;
    if matches!(socket, Some(SocketAddress::Abstract(_))) {
        for (setting, what, is_set) in [
            ("listen.mode", "mode", mode.is_some()),
            ("listen.group", "group", group.is_some()),
            ("listen.shared_directory", "directory", shared_directory.is_some()),
        ] {
            if is_set {
                let refusal = Fault::new(format!("an abstract socket has no {what}"))
                    .hint("leave it out; `listen.peers` lists the allowed callers");
                return Err((steps_of(setting), refusal));
            }
        }
    }
    let uids = |List(peers): List<_, _, _>| peers.into_iter().map(|Required(Uid(uid))| uid).collect();
    let options = ListenerOptions {
        socket: socket.unwrap_or(default.socket),
        mode: mode.map_or(default.mode, |Mode(mode)| mode),
        group: group.map_or(default.group, |Gid(group)| Some(group)),
        shared_directory: shared_directory.map_or(default.shared_directory, |Flag(shared)| shared),
        peers: peers.map_or(default.peers, uids),
    };
    let kms = KmsOptions {
        status_version: status_version.map_or(kms.status_version, |Word(version)| version),
        v1beta1: v1beta1.map_or(kms.v1beta1, |Word(v1beta1)| v1beta1),
        log_requests: kms.log_requests,
    };
    Ok((options, kms))
}

fn policy(data_keys: DataKeysSection, outage: OutageSection, probe: ProbeSection, default: &Policy) -> Policy {
    let DataKeysSection {
        suite: Optional(suite),
        max_uses: Optional(max_uses),
        max_age: Optional(max_age),
        reuse: Optional(reuse),
        cache:
            Section(CacheSection {
                ttl: Optional(ttl),
                capacity: Optional(capacity),
            }),
    } = data_keys;
    let OutageSection {
        tolerate: Optional(tolerate),
    } = outage;
    let ProbeSection {
        interval: Optional(interval),
    } = probe;
    let capacity = capacity.and_then(|Whole(capacity)| NonZeroUsize::new(usize::try_from(capacity).ok()?));
    Policy {
        suite: suite.map_or(default.suite, |Word(suite)| suite),
        max_uses: max_uses.map_or(default.max_uses, |Whole(uses)| uses),
        max_age: max_age.map_or(default.max_age, |Span(age)| age),
        reuse: reuse.map_or(default.reuse, |Word(reuse)| reuse),
        cache_ttl: ttl.map_or(default.cache_ttl, |Span(ttl)| ttl),
        cache_capacity: capacity.unwrap_or(default.cache_capacity),
        tolerate: tolerate.map_or(default.tolerate, |Span(tolerate)| tolerate),
        probe_interval: interval.map_or(default.probe_interval, |Span(interval)| interval),
    }
}

fn log_options(section: LogSection, default: &LogOptions, log_requests: bool) -> (LogOptions, bool) {
    let LogSection {
        level: Optional(level),
        format: Optional(format),
        requests: Optional(requests),
    } = section;
    let options = LogOptions {
        level: level.map_or(default.level, |Word(level)| level),
        format: format.map_or(default.format, |Word(format)| format),
    };
    (options, requests.map_or(log_requests, |Flag(requests)| requests))
}

fn hardening_options(section: HardeningSection, default: &HardeningOptions) -> HardeningOptions {
    let HardeningSection {
        lock_memory: Optional(lock_memory),
        seccomp: Optional(seccomp),
    } = section;
    HardeningOptions {
        lock_memory: lock_memory.map_or(default.lock_memory, |Word(lock_memory)| lock_memory),
        seccomp: seccomp.map_or(default.seccomp, |Flag(seccomp)| seccomp),
    }
}
