//! The configuration: turns the file into the options of every part, valid by construction.
//!
//! `preflight` checks the bytes before the parser reads them, `schema` is the file as serde reads it, and `values` has
//! its values with their bounds. `resolve` makes the options of the parts, `explain` turns the parser's errors into
//! dekhand's, and `settings` lists the settings of a configuration, with those that can change while the daemon runs.

mod conflicts;
mod dev;
mod effective;
mod error;
mod explain;
mod good_copy;
mod http;
mod location;
mod name;
mod overrides;
mod pkcs11;
mod preflight;
mod reload;
mod resolve;
mod root_keys;
mod schema;
mod settings;
mod spelling;
mod units;
mod values;
mod yaml;

use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use zeroize::Zeroizing;

use crate::envelope::policy::Policy;
use crate::files;
use crate::hardening::HardeningOptions;
use crate::kms::options::KmsOptions;
use crate::listener::options::ListenerOptions;
use crate::telemetry::log::LogOptions;

pub use crate::config::effective::Effective;
pub use crate::config::effective::Setting;
pub use crate::config::effective::ValueSource;
pub use crate::config::error::ConfigError;
pub use crate::config::good_copy::ConfigOrigin;
pub use crate::config::good_copy::keep_good_copy;
pub use crate::config::good_copy::load_or_good_copy;
pub use crate::config::http::HttpChoice;
pub use crate::config::http::NotAnHttpChoice;
pub use crate::config::location::Location;
pub use crate::config::name::DaemonName;
pub use crate::config::name::NotADaemonName;
pub use crate::config::overrides::Overrides;
pub use crate::config::preflight::LIMIT;
pub use crate::config::reload::Changes;
pub use crate::config::reload::changes;
pub use crate::config::root_keys::RootKeyEntry;
pub use crate::config::root_keys::RootKeyStore;
pub use crate::config::root_keys::RootKeys;
pub use crate::config::settings::known_settings;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "/etc/dekhand/config.yaml";

/// The options of every part of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The daemon's name.
    pub name: DaemonName,
    /// The state directory: files that must survive a restart.
    pub state: PathBuf,
    /// The KMS socket and its allowed callers.
    pub listener: ListenerOptions,
    /// The gRPC services.
    pub kms: KmsOptions,
    /// The address of health and metrics, unless it is off.
    pub http: Option<SocketAddr>,
    /// The root keys.
    pub root_keys: RootKeys,
    /// The rules for data keys and outages.
    pub policy: Policy,
    /// The log.
    pub log: LogOptions,
    /// The hardening steps before the daemon serves.
    pub hardening: HardeningOptions,
    /// The limit of a token worker's data memory, in bytes.
    pub worker_memory: u64,
}

impl Config {
    /// Reads a configuration file; the command line's options override it.
    ///
    /// # Errors
    /// The file cannot be read, can be changed by other users, or is not a valid configuration.
    pub fn load(file: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::parse(file, &Self::read(file)?, overrides)
    }

    /// The bytes of a configuration file that only root and this process's user can change.
    ///
    /// # Errors
    /// The file cannot be read, or can be changed by other users.
    pub fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        files::read_trusted(file, LIMIT as u64).map_err(|source| ConfigError::unreadable(file, source))
    }

    /// The configuration in `content`. `file` is only for messages.
    ///
    /// # Errors
    /// `content` is not a valid configuration.
    pub fn parse(file: &Path, content: &[u8], overrides: &Overrides) -> Result<Self, ConfigError> {
        let text = preflight::check(content).map_err(|(refusal, place)| ConfigError::new(file, refusal).at(place))?;
        let parser = serde_yaml::Deserializer::from_str(text);
        let yaml::Section(written) = serde_path_to_error::deserialize(parser)
            .map_err(|error| explain::explain(file, text, &known_settings(), error))?;
        resolve::build(written, text, overrides).map_err(|(steps, refusal)| {
            let place = location::of_value(text, &steps);
            ConfigError::new(file, refusal).at(place).under(&steps)
        })
    }
}
