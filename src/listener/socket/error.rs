//! Why the KMS socket can't be opened.

use std::fmt::Display;
use std::io;
use std::path::PathBuf;

use crate::files::FileError;

/// Why the KMS socket can't be opened, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// The operating system refused.
    #[error("cannot {action} {socket}")]
    Io {
        /// What was tried, in the infinitive.
        action: &'static str,
        /// On which socket or directory.
        socket: String,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Somebody serves this socket already.
    #[error("{socket} is served by {holder}: stop that first, or choose another socket")]
    InUse {
        /// The socket.
        socket: String,
        /// What is known of who holds it.
        holder: String,
    },
    /// The path is taken by something that this daemon did not make.
    #[error("{path} exists and is not a socket: remove it, or choose another path")]
    NotASocket {
        /// The path.
        path: PathBuf,
    },
    /// There is no directory to put the socket into.
    #[error(
        "the directory {directory} of the socket does not exist (install -d -m 0755 {directory}; in a systemd unit \
         RuntimeDirectory= makes one under /run)"
    )]
    NoDirectory {
        /// The socket's directory.
        directory: PathBuf,
    },
    /// Whoever can write to the directory can put a socket of their own in our place.
    #[error("others can write to {directory} (mode {mode:04o}), and so replace the socket: chmod go-w {directory}")]
    WritableDirectory {
        /// The socket's directory or one above it.
        directory: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The directory's owner could replace the socket.
    #[error(
        "{directory} belongs to uid {uid}, who could replace the socket: it must belong to root or to uid {own}, \
         under which this runs (chown {own} {directory})"
    )]
    ForeignDirectory {
        /// The socket's directory.
        directory: PathBuf,
        /// Its owner.
        uid: u32,
        /// The uid of this process.
        own: u32,
    },
    /// The socket that systemd passed can't be used.
    #[error("the socket unit passed {what}: it must have one `ListenStream=` with the socket's path")]
    Adopted {
        /// What came instead.
        what: String,
    },
    /// The lock file can't be used.
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

    /// Whether the socket is in order, and only taken.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::InUse { .. })
    }
}
