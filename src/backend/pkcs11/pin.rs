//! Where a PIN comes from. It is read at every login, and by nobody but the worker.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

/// Where a PIN comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinSource {
    /// A file that only its owner can read.
    File(PathBuf),
    /// A credential of this name, in the directory that systemd gives the service.
    Credential(String),
    /// An inherited descriptor of a regular file or a memfd.
    Descriptor(u32),
}
