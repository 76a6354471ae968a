//! What daemon and worker say to each other, as types: calls, outcomes, and their way to and from the wire.

pub(super) mod call;
pub(super) mod frame;
pub(super) mod outcome;
mod version;

/// The build of this program: both ends of a channel must be one, so that the protocol needs no versions.
pub(super) const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("DEKHAND_BUILD"));

/// A message that makes no sense: the other end is broken, or is no end of ours.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// No message of the protocol.
    #[error("a message of the token worker's channel can't be read")]
    NotAMessage(#[from] prost::DecodeError),
    /// Longer than any message is.
    #[error("a message of {0} bytes on the token worker's channel")]
    TooLong(usize),
    /// A field that is missing or out of its range.
    #[error("a message of the token worker's channel has a wrong `{0}`")]
    Field(&'static str),
    /// The channel failed.
    #[error("the token worker's channel failed")]
    Channel(#[from] std::io::Error),
}
