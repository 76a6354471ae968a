//! A lock file that says who holds it, for whoever finds it taken.

use std::io::Read as _;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use crate::files;
use crate::files::FileError;
use crate::files::Lock;

/// Why a lock file could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum OwnerError {
    /// Somebody holds it: a daemon's name and process, as it says of itself, safe to print.
    #[error("it is held by {0}")]
    Held(String),
    /// It can't be made or written.
    #[error(transparent)]
    File(#[from] FileError),
}

/// Takes the lock at `file` for this process, a daemon called `name`, and writes that into it.
///
/// # Errors
/// Another process holds it, or the file can't be made.
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
