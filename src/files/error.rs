//! The errors of files and directories, with what to do about them.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::files::directory_of;

/// A file or directory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system returned an error.
    #[error("cannot {action} {path}")]
    Io {
        /// The attempted action, in the infinitive.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The operating system's error.
        source: io::Error,
    },
    /// Other users can read or change it.
    #[error("{path} has mode {mode:04o}: other users must not have access to it (chmod {wanted:04o} {path})")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// The permission bits that it should have.
        wanted: u32,
    },
    /// Other users can change it.
    #[error("{path} has mode {mode:04o}: other users must not be able to change it (chmod go-w {path})")]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Other users can read a file of a read-only volume.
    #[error(
        "{path} has mode {mode:04o}: other users must not have access to it (in a Pod's Secret volume, set `defaultMode: \
         0400`; for a container that does not run as root, `defaultMode: 0440` and the pod's `fsGroup`)"
    )]
    SecretVolume {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file's directory does not exist.
    #[error("the directory {directory} does not exist (install -d -m 0700 {directory})")]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// Links are not followed: they could lead to a place where other users can write.
    #[error("{path} is a symbolic link: name the file itself")]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// Another user owns it and could change it.
    #[error("{path} belongs to uid {uid}: it must belong to root or to uid {own}, the user of this process")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// The uid of this process.
        own: u32,
    },
    /// Another kind of file than expected, such as a directory or a device.
    #[error("{path} is not a {expected}")]
    Kind {
        /// The file.
        path: PathBuf,
        /// The expected kind.
        expected: &'static str,
    },
    /// The file is too large.
    #[error("{path} has more than {limit} bytes, the limit for a file of this kind")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit in bytes.
        limit: u64,
    },
    /// Another process holds the lock.
    #[error("{path} is locked by another process")]
    Locked {
        /// The lock file.
        path: PathBuf,
    },
}

impl FileError {
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }

    /// For opening without following a link.
    pub(super) fn opening(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| {
            // A loop of links above the file gives the same error.
            if source.raw_os_error() == Some(Errno::LOOP.raw_os_error()) && path.is_symlink() {
                Self::Link { path }
            } else {
                Self::Io { action, path, source }
            }
        }
    }

    /// For creating a file: "not found" then means that the directory is missing.
    pub(super) fn in_directory(self) -> Self {
        match self {
            Self::Io { path, source, .. } if source.kind() == io::ErrorKind::NotFound => Self::NoDirectory {
                directory: directory_of(&path).to_owned(),
            },
            other => other,
        }
    }

    /// Whether the file does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
