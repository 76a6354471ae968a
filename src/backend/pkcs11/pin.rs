//! Where a PIN comes from. It is read at every login, and by nobody but the worker.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

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

/// A PIN as it was read, and the stamp of where it was read.
#[derive(Debug)]
pub(in crate::backend::pkcs11) struct Pin {
    /// The bytes, without a line's end.
    pub(in crate::backend::pkcs11) bytes: PinBytes,
    /// Changes whenever the source does.
    pub(in crate::backend::pkcs11) stamp: Stamp,
}

/// The bytes of a PIN: wiped when dropped, never printed.
pub(in crate::backend::pkcs11) struct PinBytes(Zeroizing<Vec<u8>>);

impl PinBytes {
    /// Takes bytes that are wiped already.
    pub(in crate::backend::pkcs11) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The PIN. A search for this name finds every use of it.
    pub(in crate::backend::pkcs11) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PinBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Which file was read, and as of when (`st_ctime`): equal stamps are equal PINs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::backend::pkcs11) struct Stamp {
    /// `st_dev`.
    pub(in crate::backend::pkcs11) device: u64,
    /// `st_ino`.
    pub(in crate::backend::pkcs11) inode: u64,
    /// `st_ctime`: seconds and nanoseconds.
    pub(in crate::backend::pkcs11) changed: (i64, u64),
    /// Bytes.
    pub(in crate::backend::pkcs11) length: u64,
}
