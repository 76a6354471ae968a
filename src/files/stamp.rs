//! Whether a file has changed.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt as _;

use serde::Deserialize;
use serde::Serialize;

/// Identifies a file and its state, to the granularity of the file system's clock. Taken before the file is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Stamp {
    /// `st_dev`.
    pub(crate) device: u64,
    /// `st_ino`.
    pub(crate) inode: u64,
    /// `st_ctime`: seconds and nanoseconds.
    pub(crate) changed: (i64, u64),
    /// Bytes.
    pub(crate) length: u64,
}

impl Stamp {
    /// Of a file whose metadata this is.
    pub(crate) fn of(metadata: &Metadata) -> Self {
        Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            // Never negative.
            changed: (
                metadata.ctime(),
                u64::try_from(metadata.ctime_nsec()).unwrap_or_default(),
            ),
            length: metadata.len(),
        }
    }
}
