//! Messages, each preceded by its length (4 bytes, big endian), for the daemon's tasks and the worker's threads.

use std::io::Read;
use std::io::Write;

use prost::Message;
use tokio::io::AsyncRead;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWrite;
use tokio::io::AsyncWriteExt as _;
use zeroize::Zeroizing;

use crate::backend::pkcs11::protocol::ProtocolError;

/// The longest message. A report on a module with hundreds of tokens is shorter.
const LONGEST: usize = 1 << 20;

/// A message as bytes. They may contain a key, so they are wiped; the buffer has its full size from the start, so they
/// never move.
fn encoded(message: &impl Message) -> Result<Zeroizing<Vec<u8>>, ProtocolError> {
    let length = message.encoded_len();
    let prefix = u32::try_from(length).ok().filter(|_| length <= LONGEST);
    let prefix = prefix.ok_or(ProtocolError::TooLong(length))?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(4 + length));
    bytes.extend_from_slice(&prefix.to_be_bytes());
    message.encode_raw(&mut *bytes);
    Ok(bytes)
}

fn length(prefix: [u8; 4]) -> Result<usize, ProtocolError> {
    let length = usize::try_from(u32::from_be_bytes(prefix)).unwrap_or(usize::MAX);
    if length > LONGEST {
        return Err(ProtocolError::TooLong(length));
    }
    Ok(length)
}

/// Writes a message; blocks.
pub(in crate::backend::pkcs11) fn write(mut to: impl Write, message: &impl Message) -> Result<(), ProtocolError> {
    Ok(to.write_all(&encoded(message)?)?)
}

/// Reads a message; blocks. The end of the channel is an error of kind `UnexpectedEof`.
pub(in crate::backend::pkcs11) fn read<M: Message + Default>(mut from: impl Read) -> Result<M, ProtocolError> {
    let mut prefix = [0; 4];
    from.read_exact(&mut prefix)?;
    let mut bytes = Zeroizing::new(vec![0; length(prefix)?]);
    from.read_exact(&mut bytes)?;
    Ok(M::decode(bytes.as_slice())?)
}

/// Writes a message.
///
/// # Cancel safety
/// None: a message may be written in part.
pub(in crate::backend::pkcs11) async fn send(
    to: &mut (impl AsyncWrite + Unpin),
    message: &impl Message,
) -> Result<(), ProtocolError> {
    Ok(to.write_all(&encoded(message)?).await?)
}

/// Reads a message. The end of the channel is an error of kind `UnexpectedEof`.
///
/// # Cancel safety
/// None: a message may be read in part.
pub(in crate::backend::pkcs11) async fn receive<M: Message + Default>(
    from: &mut (impl AsyncRead + Unpin),
) -> Result<M, ProtocolError> {
    let mut prefix = [0; 4];
    from.read_exact(&mut prefix).await?;
    let mut bytes = Zeroizing::new(vec![0; length(prefix)?]);
    from.read_exact(&mut bytes).await?;
    Ok(M::decode(bytes.as_slice())?)
}
