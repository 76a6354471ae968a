//! Root keys in a file: for trying out and for single nodes.

use std::path::PathBuf;

/// The options of a keyring.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyringOptions {
    /// The keyring file.
    pub file: PathBuf,
}
