//! The messages between the daemon, its spawner and its workers, and their bytes.

pub mod call;
mod exposed_key;
pub mod frame;
pub mod message;

/// The build of this program. Both ends of a channel must have the same, so the messages need no versions.
pub(super) const BUILD: &str = concat!(env!("CARGO_PKG_VERSION"), "+", env!("DEKHAND_BUILD"));

/// An invalid message: the other end is broken, or is not a dekhand process.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// Not a message of the protocol.
    #[error("a message on the token worker's channel cannot be read")]
    NotAMessage(#[from] postcard::Error),
    /// Longer than any valid message.
    #[error("a message on the token worker's channel is too long: {0} bytes")]
    TooLong(usize),
    /// A valid message at the wrong time.
    #[error("unexpected message on the token worker's channel")]
    Unexpected,
    /// The channel failed.
    #[error("the token worker's channel failed")]
    Channel(#[from] std::io::Error),
}
