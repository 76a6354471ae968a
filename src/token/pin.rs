//! The sources of a PIN. Only the worker reads the PIN, and it does so at every login.

use std::ffi::OsStr;
use std::fmt;
use std::fs::Metadata;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use zeroize::Zeroizing;

use crate::files;
use crate::files::FileError;
use crate::files::stamp::Stamp;
use crate::token::credential;
use crate::token::credential::CredentialError;

/// Longer than any PIN. A longer file is not a PIN's file.
const LIMIT: u64 = 1024;

/// Where a PIN comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PinSource {
    /// A file that only its owner can read.
    File(PathBuf),
    /// A credential of this name, in the directory that systemd gives the service.
    Credential(String),
    /// An inherited descriptor of a regular file or a memfd.
    Descriptor(u32),
}

impl fmt::Display for PinSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Credential(name) => write!(f, "the credential {name}"),
            Self::Descriptor(number) => write!(f, "descriptor {number}"),
        }
    }
}

/// A PIN cannot be read. The error contains nothing of what was read.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PinError {
    /// The file cannot be read.
    #[error("the PIN cannot be read")]
    File(#[from] FileError),
    /// The credential cannot be read.
    #[error("the PIN cannot be read")]
    Credential(#[from] CredentialError),
    /// The descriptor is not open in this process.
    #[error(
        "descriptor {0}, which should hold the PIN, is not open: the program that starts the daemon must pass it on, \
         without close-on-exec"
    )]
    NoDescriptor(u32),
    /// The descriptor's content can be read only once.
    #[error(
        "descriptor {0}, which should hold the PIN, is neither a regular file nor a memfd: dekhand reads the PIN at \
         each login, and a pipe, a socket or a terminal can be read only once"
    )]
    ReadOnce(u32),
    /// The source is empty.
    #[error("{0}, which should hold the PIN, is empty")]
    Empty(PinSource),
    /// A PIN has no line breaks: to try this content would cost one of a few attempts.
    #[error("{0}, which should hold the PIN, has more than one line: it must contain the PIN alone")]
    Lines(PinSource),
    /// Editors write such bytes, which nobody sees. The token would count the attempt.
    #[error(
        "{0}, which should hold the PIN, has {1}, so it was not tried: it must contain the PIN alone, as UTF-8 text \
         without a byte order mark (check it with `od -c`)"
    )]
    Invisible(PinSource, &'static str),
}

impl PinSource {
    /// The current PIN, without the line break at its end.
    ///
    /// # Errors
    /// The PIN cannot be read, other users could have read or changed it, or it cannot be a PIN.
    pub(crate) fn read(&self) -> Result<Pin, PinError> {
        self.read_with(std::env::var_os(credential::DIRECTORY).as_deref())
    }

    fn read_with(&self, credentials: Option<&OsStr>) -> Result<Pin, PinError> {
        let (mut bytes, metadata) = match self {
            Self::File(path) => files::read_secret(path, LIMIT)?,
            Self::Credential(name) => credential::read(name, credentials, LIMIT)?,
            Self::Descriptor(number) => read_descriptor(*number)?,
        };
        let line = bytes.strip_suffix(b"\r\n").or_else(|| bytes.strip_suffix(b"\n"));
        let line = line.unwrap_or(&bytes);
        let length = line.len();
        bytes.truncate(length);
        if bytes.is_empty() {
            return Err(PinError::Empty(self.clone()));
        }
        if let Some(what) = invisible(&bytes) {
            return Err(PinError::Invisible(self.clone(), what));
        }
        if bytes.iter().any(|byte| b"\n\r".contains(byte)) {
            return Err(PinError::Lines(self.clone()));
        }
        Ok(Pin {
            stamp: Stamp::of(&metadata),
            bytes: PinBytes::new(bytes),
            made_anew: match self {
                Self::File(_) => false,
                Self::Credential(_) | Self::Descriptor(_) => true,
            },
        })
    }
}

/// What a text has that nobody sees in an editor, if it has something. Blanks are part of some passphrases. A PIN need not
/// be UTF-8.
fn invisible(bytes: &[u8]) -> Option<&'static str> {
    if bytes.starts_with(b"\xef\xbb\xbf") {
        return Some("a byte order mark at its beginning");
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") || bytes.contains(&0) {
        return Some("zero bytes or a byte order mark, as text in UTF-16 has");
    }
    if bytes
        .iter()
        .any(|byte| byte.is_ascii_control() && !b"\n\r".contains(byte))
    {
        return Some("a control character");
    }
    let text = std::str::from_utf8(bytes).unwrap_or_default();
    let is_unseen = |character: char| {
        matches!(
            character,
            // Soft hyphen, spaces other than the usual one, marks of direction and joining, byte order mark.
            '\u{ad}' | '\u{2000}'..='\u{200f}' | '\u{2028}'..='\u{202f}' | '\u{205f}'..='\u{206f}' | '\u{feff}'
        ) || character.is_control() && !character.is_ascii()
            || character.is_whitespace() && !character.is_ascii()
    };
    text.contains(is_unseen)
        .then_some("a character that no editor shows, such as a no-break space")
}

/// Opens the file anew, because a read from an inherited descriptor moves the offset for all processes that share it.
fn read_descriptor(number: u32) -> Result<(Zeroizing<Vec<u8>>, Metadata), PinError> {
    let path = PathBuf::from(format!("/proc/self/fd/{number}"));
    match files::read_behind_link(&path, LIMIT) {
        Err(FileError::Kind { .. }) => Err(PinError::ReadOnce(number)),
        Err(error) if error.is_not_found() => Err(PinError::NoDescriptor(number)),
        other => Ok(other?),
    }
}

/// A PIN, and the stamp of its source when it was read.
#[derive(Debug)]
pub(crate) struct Pin {
    /// The bytes, without a line break.
    pub(crate) bytes: PinBytes,
    /// Changes whenever the source changes.
    pub(crate) stamp: Stamp,
    /// Whether each start of the daemon makes the source anew. A change of such a source does not mean that a human has
    /// changed it.
    pub(crate) made_anew: bool,
}

impl Pin {
    /// Stands for a PIN that a human types at the token's own device. It has no bytes, unlike any other PIN, and no
    /// file's stamp.
    pub(crate) fn typed_elsewhere() -> Self {
        Self {
            bytes: PinBytes::new(Zeroizing::default()),
            stamp: Stamp {
                device: 0,
                inode: 0,
                changed: (0, 0),
                length: 0,
            },
            made_anew: false,
        }
    }
}

/// The bytes of a PIN: wiped when dropped, never printed.
pub(crate) struct PinBytes(Zeroizing<Vec<u8>>);

impl PinBytes {
    /// Takes bytes that are wiped on drop already.
    pub(crate) fn new(bytes: Zeroizing<Vec<u8>>) -> Self {
        Self(bytes)
    }

    /// The PIN. A search for the name of this method finds every use of a PIN.
    pub(crate) fn expose(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for PinBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::os::fd::AsFd;
    use std::os::fd::AsRawFd as _;
    use std::os::unix::fs::PermissionsExt as _;

    use std::path::Path;

    use super::*;
    use crate::telemetry::log::chain;

    fn file(content: &[u8], mode: u32) -> (tempfile::TempDir, PinSource) {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pin");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        (directory, PinSource::File(path))
    }

    fn descriptor(of: impl AsFd) -> PinSource {
        PinSource::Descriptor(of.as_fd().as_raw_fd().try_into().unwrap())
    }

    #[test]
    fn one_line_end_is_cut_and_what_can_be_no_pin_is_not_given_to_a_token() {
        for (content, pin) in [
            (&b"1234"[..], &b"1234"[..]),
            (b"1234\n", b"1234"),
            (b"1234\r\n", b"1234"),
            (b" user:pass word ", b" user:pass word "),
            (&[b'7'; 1024], &[b'7'; 1024]),
        ] {
            let (_kept, source) = file(content, 0o600);
            assert_eq!(source.read().unwrap().bytes.expose(), pin);
        }
        for content in [&b""[..], b"\n", b"\r\n"] {
            let (_kept, source) = file(content, 0o600);
            assert!(matches!(source.read(), Err(PinError::Empty(_))));
        }
        // Longer than the random part of the file's name, which the error names.
        for content in [&b"12345678\n90\n"[..], b"12345678\n\n", b"12345678\r"] {
            let (_kept, source) = file(content, 0o600);
            let error = source.read().unwrap_err();
            assert!(matches!(error, PinError::Lines(_)));
            assert!(!format!("{error} {error:?}").contains("12345678"), "{error}");
        }
        let (_kept, source) = file(&[b'7'; 1025], 0o600);
        assert!(matches!(source.read(), Err(PinError::File(FileError::TooLarge { .. }))));
    }

    #[test]
    fn bytes_that_nobody_sees_are_not_given_to_a_token() {
        let utf_16: Vec<u8> = "12345678".encode_utf16().flat_map(u16::to_le_bytes).collect();
        for content in [
            &b"\xef\xbb\xbf12345678\n"[..],
            b"\xff\xfe1\x002\x00",
            &utf_16,
            b"12345678\0",
            b"12345678\t",
            b"\x1b12345678",
            "12345678\u{a0}".as_bytes(),
            "1234\u{200b}5678".as_bytes(),
            "12345678\u{2028}".as_bytes(),
        ] {
            let (_kept, source) = file(content, 0o600);
            let error = source.read().unwrap_err();
            assert!(matches!(error, PinError::Invisible(..)), "{content:?}: {error}");
            assert!(!format!("{error} {error:?}").contains("12345678"), "{error}");
        }
        for content in ["pässwörd".as_bytes(), b"p\xe4ss"] {
            let (_kept, source) = file(content, 0o600);
            assert_eq!(source.read().unwrap().bytes.expose(), content);
        }
    }

    #[test]
    fn a_file_that_others_can_read_gives_no_pin() {
        let (_kept, source) = file(b"1234", 0o640);
        assert!(matches!(source.read(), Err(PinError::File(FileError::Mode { .. }))));
    }

    #[test]
    fn the_stamp_changes_with_the_source_alone() {
        let (_kept, source) = file(b"1234", 0o600);
        let stamp = source.read().unwrap().stamp;
        assert_eq!(source.read().unwrap().stamp, stamp);
        let PinSource::File(path) = &source else { return };
        std::fs::write(path, "12345").unwrap();
        assert_ne!(source.read().unwrap().stamp, stamp);
        std::fs::write(path.with_extension("new"), "1234").unwrap();
        std::fs::set_permissions(path.with_extension("new"), std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(path.with_extension("new"), path).unwrap();
        assert_ne!(
            source.read().unwrap().stamp,
            stamp,
            "replaced by one of the same content"
        );
    }

    #[test]
    fn a_credential_is_read_from_the_directory_of_the_service_and_from_nowhere_else() {
        let (directory, _) = file(b"1234\n", 0o440);
        let credential = |name: &str| PinSource::Credential(name.to_owned());
        let read = |name: &str, directory: Option<&Path>| credential(name).read_with(directory.map(Path::as_os_str));
        let here = Some(directory.path());
        assert_eq!(read("pin", here).unwrap().bytes.expose(), b"1234");
        assert!(
            matches!(read("other", here), Err(PinError::Credential(CredentialError::File(error))) if error.is_not_found())
        );
        for wrong in ["../pin", "..", ".", "", "a/pin"] {
            assert!(
                matches!(read(wrong, here), Err(PinError::Credential(CredentialError::Name))),
                "{wrong}"
            );
        }
        for nowhere in [None, Some(Path::new("")), Some(Path::new("relative"))] {
            let error = chain(&read("pin", nowhere).unwrap_err());
            assert!(error.contains("LoadCredential=pin:PATH"), "{error}");
        }
    }

    #[test]
    fn a_descriptor_is_read_from_its_start_each_time() {
        let mut memory = std::fs::File::from(rustix::fs::memfd_create("pin", rustix::fs::MemfdFlags::CLOEXEC).unwrap());
        memory.write_all(b"1234\n").unwrap();
        let (directory, source) = file(b"5678\n", 0o600);
        let PinSource::File(path) = source else { return };
        let opened = std::fs::File::open(path).unwrap();
        drop(directory);
        for _ in 0..2 {
            assert_eq!(descriptor(&memory).read().unwrap().bytes.expose(), b"1234");
            assert_eq!(
                descriptor(&opened).read().unwrap().bytes.expose(),
                b"5678",
                "also removed"
            );
        }
    }

    #[test]
    fn a_descriptor_that_can_be_read_but_once_is_refused_unread() {
        let (reader, mut writer) = std::io::pipe().unwrap();
        writer.write_all(b"1234").unwrap();
        let (socket, _other) = std::os::unix::net::UnixStream::pair().unwrap();
        let device = std::fs::File::open("/dev/zero").unwrap();
        for source in [descriptor(&reader), descriptor(&socket), descriptor(&device)] {
            let error = source.read().unwrap_err();
            assert!(matches!(error, PinError::ReadOnce(_)), "{error}");
        }
        let error = PinSource::Descriptor(1_000_000).read().unwrap_err();
        assert!(matches!(error, PinError::NoDescriptor(_)), "{error}");
    }
}
