//! A caller that begins a request and never finishes it. The HTTP/2 frames are made by hand, since no client does this.

use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;

use support::daemon::HANG;

const HEADERS: u8 = 1;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const ACK: u8 = 1;
const END_HEADERS: u8 = 4;

/// Connects and begins an Encrypt; its message never comes. When this returns, the daemon has accepted the request.
pub(crate) fn begin_encrypt(socket: &Path) -> UnixStream {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    let mut block = vec![0x83, 0x86]; // :method POST, :scheme http
    for (name, value) in [
        (&[4][..], "/v2.KeyManagementService/Encrypt"), // :path
        (&[1], "localhost"),                            // :authority
        (&[15, 16], "application/grpc"),                // content-type
    ] {
        block.extend(name);
        block.push(u8::try_from(value.len()).unwrap());
        block.extend(value.as_bytes());
    }
    let begin = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(SETTINGS, 0, 0, &[]),
        frame(HEADERS, END_HEADERS, 1, &block),
        frame(PING, 0, 0, b"are you?"),
    ];
    stream.write_all(&begin.concat()).unwrap();
    while next(&mut stream) != (PING, ACK) {}
    stream
}

fn frame(kind: u8, flags: u8, stream: u8, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    [&[0, 0, length, kind, flags, 0, 0, 0, stream], payload].concat()
}

/// The next frame's kind and flags.
fn next(stream: &mut UnixStream) -> (u8, u8) {
    let mut head = [0; 9];
    stream.read_exact(&mut head).unwrap();
    let [_, high, low, kind, flags, ..] = head;
    let mut payload = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    stream.read_exact(&mut payload).unwrap();
    (kind, flags)
}
