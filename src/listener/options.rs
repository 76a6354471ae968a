//! The options of the KMS socket.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// The address of a KMS socket.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum SocketAddress {
    /// A socket in the file system.
    Path(PathBuf),
    /// A name in Linux's abstract namespace, written `@name`. It has no mode and no owner.
    Abstract(String),
}

/// A text is not the address of a socket.
#[derive(Debug, thiserror::Error)]
#[error("not a socket: expected an absolute path or `@name`, at most 107 bytes")]
pub struct NotASocketAddress;

impl FromStr for SocketAddress {
    type Err = NotASocketAddress;

    fn from_str(text: &str) -> Result<Self, NotASocketAddress> {
        // sun_path has 108 bytes, one of them for the NUL behind a path or before an abstract name.
        if text.len() > 107 || text.contains('\0') {
            return Err(NotASocketAddress);
        }
        match text.strip_prefix('@') {
            Some("") => Err(NotASocketAddress),
            Some(name) => Ok(Self::Abstract(name.to_owned())),
            None if text.starts_with('/') => Ok(Self::Path(text.into())),
            None => Err(NotASocketAddress),
        }
    }
}

impl fmt::Display for SocketAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Path(path) => path.display().fmt(f),
            Self::Abstract(name) => write!(f, "@{name}"),
        }
    }
}

/// The options of the listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerOptions {
    /// The address of the socket.
    pub socket: SocketAddress,
    /// Permission bits of a socket in the file system.
    pub mode: u32,
    /// The group of a socket in the file system; otherwise the one that the kernel gives it.
    pub group: Option<u32>,
    /// Whether other users may be able to write to the socket's directory, and so to replace the socket.
    pub shared_directory: bool,
    /// Uids that may call, beside the daemon's own. The only option that can change while the daemon runs.
    pub peers: Vec<u32>,
}

impl ListenerOptions {
    /// A socket that only the daemon's own uid and root can use, and only the daemon's own uid may call.
    pub fn at(socket: SocketAddress) -> Self {
        Self {
            socket,
            mode: 0o600,
            group: None,
            shared_directory: false,
            peers: Vec::new(),
        }
    }
}
