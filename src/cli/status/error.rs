//! Why a daemon is not as kube-apiserver needs it.

use std::io;

use tonic::Code;

use crate::config::DEFAULT_FILE;
use crate::listener::options::SocketAddress;
use crate::proto::code;
use crate::secret::NoRandomness;

/// Why a round did not hold.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// No option names a daemon, and there is no configuration file in the usual place.
    #[error("which daemon is not known: there is no {}", DEFAULT_FILE)]
    Unnamed,
    /// Nobody listens.
    #[error("cannot connect to {socket}")]
    NotListening {
        /// The socket.
        socket: SocketAddress,
        /// The operating system's answer.
        source: io::Error,
    },
    /// Somebody listens, and the connection ended without an answer.
    #[error("{socket} ended the connection without an answer")]
    NoAnswer {
        /// The socket.
        socket: SocketAddress,
    },
    /// The daemon refused a call.
    #[error("{call} answered {}: {sentence}", code::name(*.code))]
    Refused {
        /// The call.
        call: &'static str,
        /// The gRPC code.
        code: Code,
        /// The daemon's sentence.
        sentence: String,
    },
    /// An answer is not what kube-apiserver needs.
    #[error("{call} answered what kube-apiserver does not take: {what}")]
    Wrong {
        /// The call.
        call: &'static str,
        /// What is wrong with it.
        what: &'static str,
    },
    /// This machine has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl StatusError {
    /// Whether no daemon was reached, rather than a daemon that is not well.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::NotListening { .. } | Self::NoAnswer { .. })
    }

    /// What the reader may do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unnamed => Some("name it with --socket, --config or --dev"),
            Self::NotListening { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("the socket belongs to the daemon's user: run this as that user or as root")
            }
            Self::NotListening { .. } => Some("is the daemon running, and is this its socket?"),
            Self::NoAnswer { .. } => {
                Some("is this user's uid in `listen.peers`? the daemon's log names the connections that it refuses")
            }
            Self::Refused { .. } => Some("the daemon's log has the reason"),
            Self::Wrong { .. } | Self::NoRandomness(_) => None,
        }
    }

    /// The name of the gRPC code, if the daemon answered with one.
    pub(super) fn code(&self) -> Option<&'static str> {
        match self {
            Self::Refused { code, .. } => Some(code::name(*code)),
            _ => None,
        }
    }
}
