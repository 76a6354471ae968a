//! What a worker is to do: its root key, its token, and how much it may.

use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;

use crate::hardening::LockMemory;
use crate::root_key::name::RootKeyName;
use crate::token::options::Pkcs11Options;

/// Everything that a worker is told when it starts, by its spawner. Holds no secret.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// What it may do.
    pub role: Role,
    /// The root key that it is about.
    pub root_key: RootKeyName,
    /// Where that lives.
    pub options: Pkcs11Options,
    /// Where it is written down which PINs worked and which were rejected; nowhere without a state directory.
    pub state: Option<PathBuf>,
    /// Bytes of data memory that it may have.
    pub memory: u64,
    /// Whether its memory is kept from swap: it has the PIN while it logs in, and every data key that it wraps or unwraps.
    pub lock_memory: LockMemory,
}

/// What a worker may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Role {
    /// Serve a daemon: find, wrap, unwrap. Read-only where the token has such sessions.
    Daemon,
    /// Serve one command that only looks: the same, and what it shows.
    Look,
    /// Serve one `dekhand keys` command that changes versions: also generate, import, relabel, destroy.
    Admin,
}
