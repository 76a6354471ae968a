//! Creates the private directory of `serve --dev`, with a keyring of one version, on first use.

use std::path::Path;
use std::path::PathBuf;

use crate::backend::keyring::error::KeyringError;
use crate::backend::keyring::file::KeyringFile;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::RootKeyStore;
use crate::files;
use crate::files::FileError;

/// The directory of `--dev`: the one given, else `$XDG_STATE_HOME/dekhand`, else `~/.local/state/dekhand`.
pub fn directory(given: Option<&Path>) -> Option<PathBuf> {
    let from = |variable: &str| {
        std::env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    // The XDG specification requires that a relative path is ignored.
    let state_home = || from("XDG_STATE_HOME").filter(|path| path.is_absolute());
    given
        .map(Path::to_owned)
        .or_else(|| state_home().map(|path| path.join("dekhand")))
        .or_else(|| from("HOME").map(|home| home.join(".local/state/dekhand")))
}

/// Why `--dev` cannot be prepared.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The directory.
    #[error("the directory of --dev cannot be used")]
    Directory(#[from] FileError),
    /// The keyring.
    #[error("the keyring of --dev cannot be used")]
    Keyring(#[from] KeyringError),
}

/// Creates the directory of a configuration made by [`Config::dev`], and in it a keyring with one active version, if
/// they are missing. Returns whether the keyring is new.
///
/// # Errors
/// Other users may enter the directory, or the keyring there is damaged. Existing files are not touched.
pub fn prepare(directory: &Path, config: &Config) -> Result<bool, DevError> {
    files::private_directory(directory)?;
    let mut new = false;
    for entry in config.root_keys.iter() {
        let RootKeyStore::Keyring(options) = &entry.store else {
            continue;
        };
        let file = KeyringFile::new(options, entry.name.clone());
        new |= file.create_for_trying_out(Clock::system().now())?.is_some();
    }
    Ok(new)
}
