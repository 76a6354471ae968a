//! HTTP/2 frames and header blocks by hand, over a blocking socket, for what no client library would send.

use std::io::Read as _;
use std::io::Write as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use support::daemon::HANG;

pub(crate) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const PRIORITY: u8 = 2;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const PING: u8 = 6;
pub(crate) const WINDOW_UPDATE: u8 = 8;
pub(crate) const CONTINUATION: u8 = 9;

pub(crate) const ACK: u8 = 1;
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;

/// The setting of a stream's first window.
pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;

pub(crate) const ENCRYPT: &str = "/v2.KeyManagementService/Encrypt";
pub(crate) const DECRYPT: &str = "/v2.KeyManagementService/Decrypt";
pub(crate) const STATUS: &str = "/v2.KeyManagementService/Status";
pub(crate) const V1_VERSION: &str = "/v1beta1.KeyManagementService/Version";
pub(crate) const V1_ENCRYPT: &str = "/v1beta1.KeyManagementService/Encrypt";
pub(crate) const V1_DECRYPT: &str = "/v1beta1.KeyManagementService/Decrypt";

/// As old API servers send it, so that the listener looks at all that comes and not only at the first call.
const AUTHORITY: &str = "/run/dekhand/kms.sock";

/// So long a hostile caller waits for the daemon before it goes on without it.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let [_, length @ ..] = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

pub(crate) fn setting(name: u16, value: u32) -> Vec<u8> {
    let payload = [&name.to_be_bytes()[..], &value.to_be_bytes()].concat();
    frame(SETTINGS, 0, 0, &payload)
}

pub(crate) fn window_update(stream: u32, increment: u32) -> Vec<u8> {
    frame(WINDOW_UPDATE, 0, stream, &increment.to_be_bytes())
}

pub(crate) fn cancel(stream: u32) -> Vec<u8> {
    frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])
}

/// The header block of a call, without any compression but the static table's.
pub(crate) fn call(path: &str) -> Vec<u8> {
    request("POST", path, "application/grpc")
}

/// The header block of a request.
pub(crate) fn request(method: &str, path: &str, content_type: &str) -> Vec<u8> {
    let mut block = vec![0x86]; // :scheme http
    // :method, :path, :authority, content-type: literals without indexing, their names from the static table.
    for (name, value) in [(2, method), (4, path), (1, AUTHORITY), (31, content_type)] {
        integer(&mut block, 0, 4, name);
        text(&mut block, value);
    }
    block
}

/// A header field of any name, in a literal without indexing.
pub(crate) fn field(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0);
    text(block, name);
    text(block, value);
}

/// A header field that both sides remember: the next block can name it by one byte, 0xbe.
pub(crate) fn remembered(block: &mut Vec<u8>, name: &str, value: &str) {
    block.push(0x40);
    text(block, name);
    text(block, value);
}

fn text(block: &mut Vec<u8>, text: &str) {
    integer(block, 0, 7, text.len());
    block.extend(text.as_bytes());
}

/// RFC 7541, 5.1.
pub(crate) fn integer(block: &mut Vec<u8>, first: u8, prefix: u32, value: usize) {
    let most = 2_usize.pow(prefix) - 1;
    if value < most {
        block.push(first | u8::try_from(value).unwrap());
        return;
    }
    block.push(first | u8::try_from(most).unwrap());
    varint(block, value - most);
}

fn varint(bytes: &mut Vec<u8>, mut value: usize) {
    while value >= 128 {
        bytes.push(u8::try_from(value % 128).unwrap() | 128);
        value /= 128;
    }
    bytes.push(u8::try_from(value).unwrap());
}

/// The id of a connection's request: odd, and growing.
pub(crate) fn id(number: usize) -> u32 {
    u32::try_from(number).unwrap() * 2 + 1
}

/// A message of gRPC.
pub(crate) fn message(compressed: u8, bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    [&[compressed], &length[..], bytes].concat()
}

/// An `EncryptRequest` with a plaintext of so many bytes.
pub(crate) fn encrypt_request(length: usize) -> Vec<u8> {
    let mut bytes = vec![0x0a];
    varint(&mut bytes, length);
    bytes.resize(bytes.len() + length, 7);
    bytes
}

/// A whole call with one body, in frames of at most 16 KiB.
pub(crate) fn whole(stream: u32, block: &[u8], body: &[u8]) -> Vec<u8> {
    let mut bytes = frame(HEADERS, END_HEADERS, stream, block);
    for part in body.chunks(16 << 10) {
        bytes.extend(frame(DATA, 0, stream, part));
    }
    bytes.extend(frame(DATA, END_STREAM, stream, &[]));
    bytes
}

/// A connection of somebody who means harm. What the daemon does to it is never an error.
#[derive(Debug)]
pub(crate) struct Hostile(UnixStream);

impl Hostile {
    /// Connects and says nothing.
    pub(crate) fn connect(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Self(stream)
    }

    /// Connects and opens HTTP/2 as a client does.
    pub(crate) fn greet(socket: &Path) -> Self {
        let connection = Self::connect(socket);
        connection.send(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat());
        connection
    }

    /// Whether the daemon has taken it: it may have closed, or not read for a while.
    pub(crate) fn send(&self, bytes: &[u8]) -> bool {
        (&self.0).write_all(bytes).is_ok()
    }

    /// Waits until the daemon has come so far, and reads what it has said; `false` if it has closed.
    pub(crate) fn settle(&self) -> bool {
        self.send(&frame(PING, 0, 0, b"are you?")) && self.read_until(PING, ACK)
    }

    /// The same where the daemon must answer, however busy the machine is.
    pub(crate) fn must_settle(&self) -> bool {
        self.0.set_read_timeout(Some(HANG)).unwrap();
        let settled = self.settle();
        self.0.set_read_timeout(Some(PATIENCE)).unwrap();
        settled
    }

    /// Reads up to a frame of this kind and flags; `false` if it does not come.
    pub(crate) fn read_until(&self, kind: u8, flags: u8) -> bool {
        let mut head = [0; 9];
        let mut payload = Vec::new();
        while (&self.0).read_exact(&mut head).is_ok() {
            let [_, high, low, its_kind, its_flags, ..] = head;
            payload.resize(usize::from(u16::from_be_bytes([high, low])), 0);
            if (&self.0).read_exact(&mut payload).is_err() {
                return false;
            }
            if (its_kind, its_flags) == (kind, flags) {
                return true;
            }
        }
        false
    }

    /// Closes it, also for who reads from it.
    pub(crate) fn end(&self) {
        self.0.shutdown(std::net::Shutdown::Both).ok();
    }

    /// Reads whatever comes, until the daemon closes or the connection is dropped elsewhere.
    pub(crate) fn read_on(&self) -> std::thread::JoinHandle<()> {
        let mut stream = self.0.try_clone().unwrap();
        std::thread::spawn(move || {
            let mut sink = vec![0; 64 << 10];
            while stream.read(&mut sink).is_ok_and(|count| count > 0) {}
        })
    }
}
