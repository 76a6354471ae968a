//! Why the KMS socket cannot be opened.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use crate::files::FileError;

/// Why the KMS socket cannot be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The operating system refused.
    #[error("cannot {action} {socket}")]
    Io {
        /// The attempted action, in the infinitive.
        action: &'static str,
        /// The socket or directory.
        socket: String,
        /// The operating system's error.
        source: io::Error,
    },
    /// Another process already serves this socket.
    #[error("{socket} is served by {holder}: stop that process first, or choose another socket")]
    InUse {
        /// The socket.
        socket: String,
        /// The other process, as far as it is known.
        holder: String,
    },
    /// Another file is at the path.
    #[error("{path} exists and is not a socket: remove it, or choose another path")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// The socket's directory does not exist.
    #[error(
        "the directory {directory} of the socket does not exist (install -d -m 0755 {directory}; in a systemd unit, \
         RuntimeDirectory= creates one under /run)"
    )]
    NoDirectory {
        /// The socket's directory.
        directory: PathBuf,
    },
    /// A user who can write to the directory can replace the socket.
    #[error(
        "other users can write to {directory} (mode {mode:04o}) and replace the socket: chmod go-w {directory}, or, where \
         all of them are trusted, as in an emptyDir of a pod, set `listen.shared_directory: true`"
    )]
    WritableDirectory {
        /// The socket's directory or one above it.
        directory: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory's owner can replace the socket.
    #[error(
        "{directory} belongs to uid {uid}, which can replace the socket: it must belong to root or to uid {own}, \
         under which dekhand runs (chown {own} {directory})"
    )]
    ForeignDirectory {
        /// The socket's directory.
        directory: PathBuf,
        /// Its owner.
        uid: u32,
        /// The uid of this process.
        own: u32,
    },
    /// The socket that systemd passed cannot be used.
    #[error("the socket unit passed {what}: it must have one `ListenStream=` with the socket's path")]
    Adopted {
        /// The description of what systemd passed.
        what: String,
    },
    /// The lock file cannot be used.
    #[error(transparent)]
    Lock(FileError),
}

impl SocketError {
    pub(super) fn refused<E: Into<io::Error>>(
        action: &'static str,
        socket: &dyn Display,
    ) -> impl FnOnce(E) -> Self + use<E> {
        let socket = socket.to_string();
        move |error| Self::Io {
            action,
            socket,
            source: error.into(),
        }
    }

    pub(super) fn in_use(socket: &dyn Display, holder: String) -> Self {
        Self::InUse {
            socket: socket.to_string(),
            holder,
        }
    }

    /// Whether the only problem is that another process serves the socket.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }
}
