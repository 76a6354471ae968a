//! HTTP/2 frames made by hand, for requests that no client library would send.

use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::UnixStream;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// The header block of a gRPC call, without any compression but the static table's.
pub(super) fn call(path: &str) -> Vec<u8> {
    let mut block = vec![0x83, 0x86]; // :method POST, :scheme http
    for (name_index, value) in [(4, path), (1, "localhost"), (31, "application/grpc")] {
        literal(&mut block, name_index, value);
    }
    block
}

/// A literal header field without indexing, its name from the static table.
pub(super) fn literal(block: &mut Vec<u8>, name_index: u8, value: &str) {
    // Four bits of prefix: an index of 15 and more has a second byte.
    if name_index < 15 {
        block.push(name_index);
    } else {
        block.extend([15, name_index - 15]);
    }
    block.push(u8::try_from(value.len()).unwrap());
    block.extend(value.as_bytes());
}

pub(super) fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &CANCEL)
}

pub(super) async fn greet(stream: &mut UnixStream) {
    stream.write_all(PREFACE).await.unwrap();
    stream.write_all(&frame(SETTINGS, 0, 0, &[])).await.unwrap();
}

/// The next frame's kind and flags, or `None` at the end of the connection.
pub(super) async fn next(stream: &mut UnixStream) -> Option<(u8, u8)> {
    let mut head = [0; 9];
    stream.read_exact(&mut head).await.ok()?;
    let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
    let mut payload = vec![0; usize::try_from(length).unwrap()];
    stream.read_exact(&mut payload).await.ok()?;
    Some((head[3], head[4]))
}

/// Sends a PING and reads up to its acknowledgement; returns the kinds of all frames before it.
pub(super) async fn ping(stream: &mut UnixStream) -> Vec<u8> {
    stream.write_all(&frame(PING, 0, 0, b"are you?")).await.unwrap();
    let mut kinds = vec![];
    loop {
        match next(stream).await.expect("the connection stays open") {
            (PING, ACK) => return kinds,
            (kind, _) => kinds.push(kind),
        }
    }
}
