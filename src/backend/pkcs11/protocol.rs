//! The protocol between daemon and worker, as types: calls, outcomes, and their encoding.

pub(super) mod call;
pub(super) mod frame;
pub(super) mod outcome;
mod version;

/// The build of this program. Both ends of a channel must have the same, so the protocol needs no versions.
pub(super) const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("DEKHAND_BUILD"));

/// An invalid message: the other end is broken, or is not a dekhand process.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ProtocolError {
    /// Not a message of the protocol.
    #[error("a message of the token worker's channel can't be read")]
    NotAMessage(#[from] prost::DecodeError),
    /// Longer than any valid message.
    #[error("a message on the token worker's channel is too long: {0} bytes")]
    TooLong(usize),
    /// A field that is missing or out of its range.
    #[error("a message of the token worker's channel has a wrong `{0}`")]
    Field(&'static str),
    /// The channel failed.
    #[error("the token worker's channel failed")]
    Channel(#[from] std::io::Error),
}
