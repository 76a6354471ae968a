//! Messages as bytes, each behind its length (4 bytes, big endian), for the daemon's tasks and the worker's threads.

use std::fmt;
use std::io::Read;
use std::io::Write;

use serde::Deserialize;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use zeroize::Zeroizing;

use crate::backend::pkcs11::ipc::ProtocolError;

/// The longest message. A report on a module with hundreds of tokens is shorter.
const LONGEST: usize = 1 << 20;
/// The bytes of the length before a message.
const PREFIX: usize = 4;

/// An encoded message behind its length. It may contain a key, so the bytes are wiped; the buffer has its full size
/// from the start, so they never move.
pub struct Frame(Zeroizing<Vec<u8>>);

impl Frame {
    /// Encodes a message.
    ///
    /// # Errors
    /// The message is too long.
    pub fn of(message: &impl Serialize) -> Result<Self, ProtocolError> {
        let length = postcard::serialize_with_flavor(message, postcard::ser_flavors::Size::default())?;
        let prefix = u32::try_from(length).ok().filter(|_| length <= LONGEST);
        let prefix = prefix.ok_or(ProtocolError::TooLong(length))?;
        let mut bytes = Zeroizing::new(vec![0; PREFIX + length]);
        let (first, rest) = bytes.split_at_mut(PREFIX);
        first.copy_from_slice(&prefix.to_be_bytes());
        postcard::to_slice(message, rest)?;
        Ok(Self(bytes))
    }

    /// The message behind its length, for a stream.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The message alone, for a socket that keeps packets apart.
    pub fn message(&self) -> &[u8] {
        self.0.get(PREFIX..).unwrap_or_default()
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// Decodes a message, without its length.
///
/// # Errors
/// The bytes are not exactly one message.
pub fn decode<'a, M: Deserialize<'a>>(message: &'a [u8]) -> Result<M, ProtocolError> {
    match postcard::take_from_bytes(message)? {
        (message, []) => Ok(message),
        _ => Err(postcard::Error::DeserializeBadEncoding.into()),
    }
}

/// A zeroed buffer for a message, if the length before it is allowed.
fn buffer(prefix: [u8; PREFIX]) -> Result<Zeroizing<Vec<u8>>, ProtocolError> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(ProtocolError::TooLong(length));
    }
    Ok(Zeroizing::new(vec![0; length]))
}

/// Writes a message; blocks.
///
/// # Errors
/// The message is too long, or the channel fails.
pub fn write(mut to: impl Write, message: &impl Serialize) -> Result<(), ProtocolError> {
    Ok(to.write_all(Frame::of(message)?.as_bytes())?)
}

/// Reads a message; blocks.
///
/// # Errors
/// The bytes are not a message, or the channel fails. The end of the channel is of kind `UnexpectedEof`.
pub fn read<M: DeserializeOwned>(mut from: impl Read) -> Result<M, ProtocolError> {
    let mut prefix = [0; PREFIX];
    from.read_exact(&mut prefix)?;
    let mut message = buffer(prefix)?;
    from.read_exact(&mut message)?;
    decode(&message)
}

/// Writes a message.
///
/// # Cancel safety
/// None: a message may be written in part.
pub(in crate::backend::pkcs11) async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    frame: &Frame,
) -> Result<(), ProtocolError> {
    Ok(to.write_all(frame.as_bytes()).await?)
}

/// Reads a message. The end of the channel is an error of kind `UnexpectedEof`.
///
/// # Cancel safety
/// None: a message may be read in part.
pub(in crate::backend::pkcs11) async fn receive<M: DeserializeOwned>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<M, ProtocolError> {
    let mut prefix = [0; PREFIX];
    from.read_exact(&mut prefix).await?;
    let mut message = buffer(prefix)?;
    from.read_exact(&mut message).await?;
    decode(&message)
}

#[cfg(test)]
mod tests;
