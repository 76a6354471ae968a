//! What can be wrong with a file, and what to do about it.

use std::io;
use std::path::Path;
use std::path::PathBuf;

use rustix::io::Errno;

use crate::files::directory_of;

/// What is wrong with a file or directory, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The operating system refused.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried, in the infinitive.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Other users can read or change it.
    #[error("{path} has mode {mode:04o}: others must not have access to it (chmod {wanted:04o} {path})")]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
        /// What they should be.
        wanted: u32,
    },
    /// Other users can change it.
    #[error("{path} has mode {mode:04o}: others must not be able to change it (chmod go-w {path})")]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// There is no directory to put the file into.
    #[error("the directory {directory} does not exist (install -d -m 0700 {directory})")]
    NoDirectory {
        /// The directory.
        directory: PathBuf,
    },
    /// Links are not followed: they could lead to where others write.
    #[error("{path} is a symbolic link: name the file itself")]
    Link {
        /// The link.
        path: PathBuf,
    },
    /// Somebody else owns it and could change it.
    #[error("{path} belongs to uid {uid}: it must belong to root or to uid {own}, under which this runs")]
    Owner {
        /// The file.
        path: PathBuf,
        /// Its owner.
        uid: u32,
        /// The uid of this process.
        own: u32,
    },
    /// Not what was expected: a directory, a device.
    #[error("{path} is not a {expected}")]
    Kind {
        /// The file.
        path: PathBuf,
        /// What it should be.
        expected: &'static str,
    },
    /// More bytes than any such file has.
    #[error("{path} has more than {limit} bytes, which no file of this kind has")]
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
            // The same error comes of links above the file that go round in circles.
            if source.raw_os_error() == Some(Errno::LOOP.raw_os_error()) && path.is_symlink() {
                Self::Link { path }
            } else {
                Self::Io { action, path, source }
            }
        }
    }

    /// For making: what is not found then is the directory.
    pub(super) fn in_directory(self) -> Self {
        match self {
            Self::Io { path, source, .. } if source.kind() == io::ErrorKind::NotFound => Self::NoDirectory {
                directory: directory_of(&path).to_owned(),
            },
            other => other,
        }
    }

    /// Whether the file just is not there.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::Io { source, .. } if source.kind() == io::ErrorKind::NotFound)
    }
}
