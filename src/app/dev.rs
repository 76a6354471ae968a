//! What `serve --dev` makes on first use: a private directory with a keyring of one version.

use std::path::Path;
use std::path::PathBuf;

use crate::backend::keyring::error::KeyringError;
use crate::backend::keyring::file::KeyringFile;
use crate::clock::Clock;
use crate::config::Config;
use crate::config::Store;
use crate::files;
use crate::files::FileError;

/// The directory of `--dev`: the one given, else `$XDG_STATE_HOME/dekhand`, else `~/.local/state/dekhand`.
pub fn directory(given: Option<&Path>) -> Option<PathBuf> {
    let from = |variable: &str| {
        std::env::var_os(variable)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    // The XDG specification: a relative path in it is to be ignored.
    let state_home = || from("XDG_STATE_HOME").filter(|path| path.is_absolute());
    given
        .map(Path::to_owned)
        .or_else(|| state_home().map(|path| path.join("dekhand")))
        .or_else(|| from("HOME").map(|home| home.join(".local/state/dekhand")))
}

/// What can't be made for `--dev`.
#[derive(Debug, thiserror::Error)]
pub enum DevError {
    /// The directory.
    #[error("the directory for trying out cannot be used")]
    Directory(#[from] FileError),
    /// The keyring.
    #[error("the keyring for trying out cannot be used")]
    Keyring(#[from] KeyringError),
}

/// Makes what is missing in the directory of a configuration made by [`Config::dev`]: the directory, and a keyring with
/// one active version. Says whether the keyring is new.
///
/// # Errors
/// Others may enter the directory, or the keyring there is damaged; nothing that exists is touched.
pub fn prepare(directory: &Path, config: &Config) -> Result<bool, DevError> {
    files::private_directory(directory)?;
    let mut new = false;
    for entry in config.root_keys.iter() {
        let Store::Keyring(options) = &entry.store else {
            continue;
        };
        let file = KeyringFile::new(options, entry.name.clone());
        new |= file.create_for_trying_out(Clock::system().now())?.is_some();
    }
    Ok(new)
}
