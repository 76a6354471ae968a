//! The lock file beside the socket, which says who serves it.

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::files;
use crate::files::FileError;
use crate::files::Lock;
use crate::listener::socket::error::SocketError;

/// Takes the lock of the socket at `path` and writes into it who we are.
pub(super) fn take(path: &Path, name: &str) -> Result<Lock, SocketError> {
    let file = files::with_suffix(path, ".lock");
    let lock = match files::try_lock(&file) {
        Ok(lock) => lock,
        Err(FileError::Locked { path: file }) => {
            return Err(SocketError::in_use(&path.display(), holder(&file)));
        }
        Err(error) => return Err(SocketError::Lock(error)),
    };
    let text = format!("daemon {name}, process {}\n", std::process::id());
    lock.file()
        .set_len(0)
        .and_then(|()| lock.file().write_all_at(text.as_bytes(), 0))
        .map_err(|source| {
            SocketError::Lock(FileError::Io {
                action: "write",
                path: file,
                source,
            })
        })?;
    Ok(lock)
}

/// What the holder of the lock wrote into it, as text that is safe to print.
fn holder(file: &Path) -> String {
    let mut text = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(200).read_to_end(&mut text));
    match read {
        Ok(_) if !text.is_empty() => String::from_utf8_lossy(&text).trim().escape_debug().to_string(),
        _ => "another process".to_owned(),
    }
}
