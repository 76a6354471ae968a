//! The configuration of `serve --dev`: one root key in a keyring, all files in one directory.

use std::path::Path;

use crate::backend::keyring::KeyringOptions;
use crate::config::Config;
use crate::config::error::ConfigError;
use crate::config::error::Fault;
use crate::config::name::DaemonName;
use crate::config::overrides::Overrides;
use crate::config::root_keys::RootKeyEntry;
use crate::config::root_keys::RootKeyStore;
use crate::config::root_keys::RootKeys;
use crate::root_key::name::RootKeyName;

impl Config {
    /// The configuration of `--dev`, with all files in `directory`.
    ///
    /// # Errors
    /// The path of a socket in the directory would be invalid, and the command line names no other socket.
    pub fn dev(directory: &Path, overrides: &Overrides) -> Result<Self, ConfigError> {
        let wrong = |problem: &str, hint: &str| ConfigError::new(directory, Fault::new(problem).hint(hint));
        let directory = std::path::absolute(directory)
            .map_err(|_| wrong("this is not the path of a directory", "name another one with --dir"))?;
        let root_key = RootKeyEntry {
            name: RootKeyName::dev(),
            shared: true,
            store: RootKeyStore::Keyring(KeyringOptions {
                file: directory.join("keyring.json"),
            }),
        };
        let mut config = Self::with_defaults(DaemonName::dev(), RootKeys::one(root_key));
        if overrides.socket.is_none() {
            let socket = directory.join("kms.sock");
            let socket = socket.to_str().and_then(|socket| socket.parse().ok());
            config.listener.socket = socket.ok_or_else(|| {
                wrong(
                    "the path of a socket in this directory would be invalid: it must be UTF-8 of at most 107 bytes",
                    "name a shorter directory with --dir, or a socket with --socket",
                )
            })?;
        }
        config.state = directory.join("state");
        config.override_with(overrides);
        Ok(config)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_too_long_for_a_socket_is_refused_unless_the_socket_is_elsewhere() {
        let long = format!("/{}", "d".repeat(107));
        let error = Config::dev(Path::new(&long), &Overrides::default()).unwrap_err();
        assert!(error.to_string().contains("107 bytes"), "{error}");
        let overrides = Overrides {
            socket: "@elsewhere".parse().ok(),
            ..Overrides::default()
        };
        let config = Config::dev(Path::new(&long), &overrides).unwrap();
        assert_eq!(config.listener.socket.to_string(), "@elsewhere");
    }
}
