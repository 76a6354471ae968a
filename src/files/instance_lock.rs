//! A lock file that contains its holder's name and process id.

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::files;
use crate::files::FileError;
use crate::files::Lock;

/// The lock file could not be locked.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// Another process holds it: the name and process id that are written in the file, escaped for printing.
    #[error("it is held by {0}")]
    Held(String),
    /// It cannot be created or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Locks `file` for this process, and writes the daemon's `name` and the process id into it.
///
/// # Errors
/// Another process holds the lock, or the file cannot be created.
pub fn take(file: &Path, name: &str) -> Result<Lock, OwnerError> {
    let lock = match files::try_lock(file) {
        Ok(lock) => lock,
        Err(FileError::Locked { .. }) => return Err(OwnerError::Held(holder(file))),
        Err(error) => return Err(error.into()),
    };
    let text = format!("daemon {name}, process {}\n", std::process::id());
    let written = lock
        .file()
        .set_len(0)
        .and_then(|()| lock.file().write_all_at(text.as_bytes(), 0));
    written.map_err(|source| FileError::Io {
        action: "write",
        path: file.to_owned(),
        source,
    })?;
    Ok(lock)
}

fn holder(file: &Path) -> String {
    let mut text = Vec::new();
    let read = std::fs::File::open(file).and_then(|file| file.take(200).read_to_end(&mut text));
    match read {
        Ok(_) if !text.is_empty() => String::from_utf8_lossy(&text).trim().escape_debug().to_string(),
        _ => "another process".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_finds_it_taken_is_told_by_whom() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("lock");
        let held = take(&file, "one").unwrap();
        let error = take(&file, "two").unwrap_err().to_string();
        assert_eq!(
            error,
            format!("it is held by daemon one, process {}", std::process::id())
        );
        drop(held);
        assert!(take(&file, "two").is_ok());
    }
}
