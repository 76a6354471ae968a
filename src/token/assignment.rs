//! A worker's assignment: its root key, its token, its role and its limits.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::hardening::LockMemory;
use crate::root_key::name::RootKeyName;
use crate::token::options::Pkcs11Options;

/// Everything that a worker gets from its spawner at its start. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Its role.
    pub role: Role,
    /// Its root key.
    pub root_key: RootKeyName,
    /// The token that holds the root key.
    pub options: Pkcs11Options,
    /// The state directory, which has the records of PINs and keys; without one nothing is recorded.
    pub state: Option<PathBuf>,
    /// Limit of its data memory, in bytes.
    pub memory: u64,
    /// Whether its memory is kept from swap: it holds the PIN during the login, and every data key that it wraps or
    /// unwraps.
    pub lock_memory: LockMemory,
}

/// The operations that a worker may perform.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Serve a daemon: find, wrap, unwrap. Read-only where the token has such sessions.
    Daemon,
    /// Serve one command that only reads: as for a daemon, and also reports.
    Look,
    /// Serve one `dekhand keys` command that changes versions: also generate, import, relabel, destroy.
    Admin,
}
