//! The configuration: from the file as it is written to the options of every part, valid by construction.
//!
//! `preflight` checks the bytes before the parser reads them, `schema` is the file as serde reads it, and its `values` know
//! their bounds. `resolve` makes the options of the parts, `explain` turns the parser's errors into dekhand's, and
//! `settings` lists the settings of a configuration, with those that can change while the daemon runs.

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
pub use crate::config::effective::Source;
pub use crate::config::error::ConfigError;
pub use crate::config::good_copy::Origin;
pub use crate::config::good_copy::keep_good_copy;
pub use crate::config::good_copy::load_or_good_copy;
pub use crate::config::http::HttpChoice;
pub use crate::config::http::NotAnHttpChoice;
pub use crate::config::location::Place;
pub use crate::config::name::DaemonName;
pub use crate::config::name::NotADaemonName;
pub use crate::config::overrides::Overrides;
pub use crate::config::preflight::LIMIT;
pub use crate::config::reload::Changes;
pub use crate::config::reload::changes;
pub use crate::config::root_keys::RootKeyEntry;
pub use crate::config::root_keys::RootKeys;
pub use crate::config::root_keys::Store;
pub use crate::config::settings::known_settings;

/// The file that is read when none is named.
pub const DEFAULT_FILE: &str = "/etc/dekhand/config.yaml";

/// The options of every part of a daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The daemon's name.
    pub name: DaemonName,
    /// The directory where it keeps what must survive a restart.
    pub state: PathBuf,
    /// Where and by whom it is called.
    pub listener: ListenerOptions,
    /// How it answers.
    pub kms: KmsOptions,
    /// Where operators ask for health and metrics, if they may.
    pub http: Option<SocketAddr>,
    /// The root keys.
    pub root_keys: RootKeys,
    /// The rules for data keys and outages.
    pub policy: Policy,
    /// What it tells of itself.
    pub log: LogOptions,
    /// What it gives up before it serves.
    pub hardening: HardeningOptions,
    /// Bytes of data memory that a token worker may have.
    pub worker_memory: u64,
}

impl Config {
    /// Reads a configuration and puts the command line's options above it.
    ///
    /// # Errors
    /// The file can't be read, can be changed by others, or is no configuration.
    pub fn load(file: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        Self::parse(file, &Self::read(file)?, overrides)
    }

    /// The bytes of a configuration file that nobody but root and this process's user can change.
    ///
    /// # Errors
    /// It can't be read, or can be changed by others.
    pub fn read(file: &Path) -> Result<Zeroizing<Vec<u8>>, ConfigError> {
        files::read_trusted(file, LIMIT as u64).map_err(|source| ConfigError::unreadable(file, source))
    }

    /// The configuration that `content` says. `file` is for messages alone.
    ///
    /// # Errors
    /// It is no configuration.
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
