//! Why `dekhand status` failed.

use std::io;

use tonic::Code;

use crate::config::DEFAULT_FILE;
use crate::listener::options::SocketAddress;
use crate::rpc::code;
use crate::secret::NoRandomness;

/// Why a round of calls failed.
#[derive(Debug, thiserror::Error)]
pub enum StatusError {
    /// No option names a daemon, and there is no configuration file at the default path.
    #[error("no daemon is named, and there is no {}", DEFAULT_FILE)]
    Unnamed,
    /// Nothing listens on the socket.
    #[error("cannot connect to {socket}")]
    NotListening {
        /// The socket.
        socket: SocketAddress,
        /// The operating system's answer.
        source: io::Error,
    },
    /// The connection was accepted, and ended without a response.
    #[error("{socket} ended the connection without a response")]
    NoAnswer {
        /// The socket.
        socket: SocketAddress,
    },
    /// The daemon refused a call.
    #[error("{call} failed with {}: {sentence}", code::name(*.code))]
    Refused {
        /// The call.
        call: &'static str,
        /// The gRPC code.
        code: Code,
        /// The daemon's message.
        sentence: String,
    },
    /// kube-apiserver would not accept a response.
    #[error("{call} returned a response that kube-apiserver does not accept: {what}")]
    Wrong {
        /// The call.
        call: &'static str,
        /// What is wrong with the response.
        what: &'static str,
    },
    /// This machine has no randomness.
    #[error(transparent)]
    NoRandomness(#[from] NoRandomness),
}

impl StatusError {
    /// Whether no daemon was reached. Otherwise a daemon was reached and is not healthy.
    pub fn is_unreachable(&self) -> bool {
        matches!(self, Self::NotListening { .. } | Self::NoAnswer { .. })
    }

    /// What an operator can do.
    pub fn hint(&self) -> Option<&'static str> {
        match self {
            Self::Unnamed => Some("name it with --socket, --config or --dev"),
            Self::NotListening { source, .. } if source.kind() == io::ErrorKind::PermissionDenied => {
                Some("this user has no permission for the socket: run the command as the daemon's user or as root")
            }
            Self::NotListening { .. } => Some("check that the daemon is running and that this is its socket"),
            Self::NoAnswer { .. } => {
                Some("check that `listen.peers` has this user's uid; the daemon's log names each refused connection")
            }
            Self::Refused {
                code: Code::Unavailable,
                ..
            } => Some(
                "the daemon's log has the reason; on a node's first start the daemon waits up to 15 s before it tries the \
                 token's PIN: `--wait 30s` waits with it",
            ),
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
