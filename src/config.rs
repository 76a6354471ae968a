//! The configuration: from the file as it is written to the options of every part, valid by construction.
//!
//! The way: `text` looks at the bytes before the parser does, `written` is the schema, whose values (`setting`) know
//! their bounds, `build` makes options of it, `explain` turns the parser's errors into ours, `effective` lists a
//! configuration's settings with what can change while the daemon runs.

mod build;
mod dev;
mod effective;
mod error;
mod explain;
mod good_copy;
mod http;
mod name;
mod overrides;
mod pkcs11;
mod place;
mod reload;
mod root_keys;
mod setting;
mod show;
mod spelling;
mod text;
mod units;
mod value;
mod written;

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

pub use crate::config::effective::known_settings;
pub use crate::config::error::ConfigError;
pub use crate::config::good_copy::Origin;
pub use crate::config::good_copy::keep_good_copy;
pub use crate::config::good_copy::load_or_good_copy;
pub use crate::config::http::HttpChoice;
pub use crate::config::http::NotAnHttpChoice;
pub use crate::config::name::DaemonName;
pub use crate::config::name::NotADaemonName;
pub use crate::config::overrides::Overrides;
pub use crate::config::place::Place;
pub use crate::config::reload::Changes;
pub use crate::config::reload::changes;
pub use crate::config::root_keys::RootKeyEntry;
pub use crate::config::root_keys::RootKeys;
pub use crate::config::root_keys::Store;
pub use crate::config::show::Effective;
pub use crate::config::show::Setting;
pub use crate::config::show::Source;
pub use crate::config::text::LIMIT;

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
        let text = text::check(content).map_err(|(refusal, place)| ConfigError::new(file, refusal).at(place))?;
        let parser = serde_yaml::Deserializer::from_str(text);
        let value::Section(written) = serde_path_to_error::deserialize(parser)
            .map_err(|error| explain::explain(file, text, &known_settings(), error))?;
        build::build(written, text, overrides).map_err(|(steps, refusal)| {
            let place = place::of_value(text, &steps);
            ConfigError::new(file, refusal).at(place).under(&steps)
        })
    }
}
