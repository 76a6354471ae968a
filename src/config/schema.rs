//! The configuration file as serde reads it: every key of the schema, and the type of its value.

use serde::Deserialize;

use crate::config::http::HttpChoice;
use crate::config::name::DaemonName;
use crate::config::pkcs11::Pkcs11Section;
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
use crate::crypto::suite::Suite;
use crate::envelope::policy::MOST_USES;
use crate::envelope::policy::Reuse;
use crate::hardening::LockMemory;
use crate::kms::options::StatusVersion;
use crate::kms::options::V1beta1;
use crate::listener::options::SocketAddress;
use crate::root_key::name::RootKeyName;
use crate::telemetry::log::LogFormat;
use crate::telemetry::log::LogLevel;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// More root keys than any migration needs; every probe lists the versions of each.
pub(super) const MOST_ROOT_KEYS: usize = 16;
const MOST_PEERS: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConfigFile {
    #[serde(rename = "apiVersion")]
    pub(super) api_version: Required<ApiVersion>,
    #[serde(default)]
    pub(super) name: Optional<DaemonName>,
    #[serde(default)]
    pub(super) state: Optional<AbsolutePath>,
    #[serde(default)]
    pub(super) listen: Section<ListenSection>,
    #[serde(default)]
    pub(super) http: Optional<HttpChoice>,
    pub(super) root_keys: Required<List<Section<RootKeySection>, 1, MOST_ROOT_KEYS>>,
    #[serde(default)]
    pub(super) data_keys: Section<DataKeysSection>,
    #[serde(default)]
    pub(super) outage: Section<OutageSection>,
    #[serde(default)]
    pub(super) probe: Section<ProbeSection>,
    #[serde(default)]
    pub(super) log: Section<LogSection>,
    #[serde(default)]
    pub(super) hardening: Section<HardeningSection>,
    #[serde(default)]
    pub(super) worker: Section<WorkerSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ListenSection {
    pub(super) socket: Optional<SocketAddress>,
    pub(super) mode: Optional<Mode>,
    pub(super) group: Optional<Gid>,
    pub(super) shared_directory: Optional<Flag>,
    pub(super) peers: Optional<List<Required<Uid>, 0, MOST_PEERS>>,
    pub(super) status_version: Optional<Word<StatusVersion>>,
    pub(super) v1beta1: Optional<Word<V1beta1>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct RootKeySection {
    pub(super) name: Required<RootKeyName>,
    #[serde(default)]
    pub(super) shared: Optional<Flag>,
    #[serde(default)]
    pub(super) keyring: Optional<Section<KeyringSection>>,
    #[serde(default)]
    pub(super) pkcs11: Optional<Section<Pkcs11Section>>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct KeyringSection {
    pub(super) file: Required<AbsolutePath>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DataKeysSection {
    pub(super) suite: Optional<Word<Suite>>,
    pub(super) max_uses: Optional<Whole<1, MOST_USES>>,
    // Each new data key costs two calls to the root key; common policies limit the age of a key to at most a year.
    pub(super) max_age: Optional<Span<MINUTE, { 365 * DAY }>>,
    pub(super) reuse: Optional<Word<Reuse>>,
    pub(super) cache: Section<CacheSection>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct CacheSection {
    pub(super) ttl: Optional<Span<0, { 30 * DAY }>>,
    pub(super) capacity: Optional<Whole<1, 1_000_000>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct OutageSection {
    pub(super) tolerate: Optional<Span<0, { 30 * DAY }>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct ProbeSection {
    pub(super) interval: Optional<Span<1, HOUR>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct LogSection {
    pub(super) level: Optional<Word<LogLevel>>,
    pub(super) format: Optional<Word<LogFormat>>,
    pub(super) requests: Optional<Flag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct HardeningSection {
    pub(super) lock_memory: Optional<Word<LockMemory>>,
    pub(super) seccomp: Optional<Flag>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct WorkerSection {
    // The minimum is what a vendor's module needed to start, with a margin; the maximum catches a wrong unit.
    pub(super) memory: Optional<Size<64, { 64 * 1024 }>>,
}
