//! Reads and writes the daemon's own files: owner-only, in one piece, from a thread of its own.

mod error;
pub mod owner;
mod read;
pub mod thread;

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::OFlags;

use read::check_private;

pub use error::FileError;
pub use read::read;
pub use read::read_behind_link;
pub use read::read_granted;
pub use read::read_private;
pub use read::read_private_described;
pub use read::read_trusted;

/// Replaces or makes a file in one step, mode 0600: written beside, synced, renamed, directory synced. Whoever reads
/// it, also after a crash, sees the old content or the new, never a part. Writers of one path exclude each other by a
/// [`lock`].
///
/// # Errors
/// The old content then still stands; unless only the directory could not be synced: then the new content stands, and a
/// crash of the machine may take it back.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let beside = with_suffix(path, ".new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(FileError::io("remove", &beside)(error)),
        _ => {}
    }
    let written = write_new(&beside, content)
        .and_then(|()| std::fs::rename(&beside, path).map_err(FileError::io("replace", path)));
    if let Err(error) = written {
        // A half-written file beside may hold secrets; the error that matters is the first one.
        std::fs::remove_file(&beside).ok();
        return Err(error);
    }
    sync_directory_of(path)
}

fn write_new(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    let created = options.open(path).map_err(FileError::io("create", path));
    let mut file = created.map_err(FileError::in_directory)?;
    file.write_all(content).map_err(FileError::io("write", path))?;
    file.sync_all().map_err(FileError::io("sync", path))
}

fn sync_directory_of(path: &Path) -> Result<(), FileError> {
    let directory = directory_of(path);
    File::open(directory)
        .and_then(|directory| directory.sync_all())
        .map_err(FileError::io("sync the replaced file's directory", directory))
}

/// The directory that holds `path`.
pub fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// `path` with `suffix` behind its last name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Makes a directory that only this user may enter (0700), and the missing ones above it; an existing one is checked.
///
/// # Errors
/// It can't be made, is no directory, or others may enter it.
pub fn private_directory(path: &Path) -> Result<(), FileError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(FileError::io("create directory", path))?;
    let metadata = std::fs::metadata(path).map_err(FileError::io("read", path))?;
    if !metadata.is_dir() {
        return Err(FileError::Kind {
            path: path.to_owned(),
            expected: "directory",
        });
    }
    check_private(path, &metadata, 0o700)
}

/// A lock that ends when this is dropped or the process dies.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// The locked file, for who wants to write into it who holds it.
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// Takes the lock file at `path`, which is made if missing and never removed; waits for another holder.
///
/// # Errors
/// The file can't be made.
pub fn lock(path: &Path) -> Result<Lock, FileError> {
    let file = open_lock(path)?;
    file.lock().map_err(FileError::io("lock", path))?;
    Ok(Lock(file))
}

/// Takes the lock file at `path` or says at once that it is [`FileError::Locked`].
///
/// # Errors
/// It is locked, or can't be made.
pub fn try_lock(path: &Path) -> Result<Lock, FileError> {
    let file = open_lock(path)?;
    match file.try_lock() {
        Ok(()) => Ok(Lock(file)),
        Err(std::fs::TryLockError::WouldBlock) => Err(FileError::Locked { path: path.to_owned() }),
        Err(std::fs::TryLockError::Error(error)) => Err(FileError::io("lock", path)(error)),
    }
}

fn open_lock(path: &Path) -> Result<File, FileError> {
    let mut options = OpenOptions::new();
    let nofollow = i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default();
    options
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags(nofollow);
    let opened = options.open(path).map_err(FileError::opening("open lock", path));
    opened.map_err(FileError::in_directory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_replaced_file_is_owner_only_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("state");
        std::fs::write(with_suffix(&path, ".new"), "left by a crash").unwrap();
        replace(&path, b"one").unwrap();
        replace(&path, b"two").unwrap();
        assert_eq!(read_private(&path, 100).unwrap().as_slice(), b"two");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn links_fifos_directories_and_large_files_are_refused() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        std::fs::write(&file, vec![0; 101]).unwrap();
        assert!(matches!(read(&file, 100), Err(FileError::TooLarge { limit: 100, .. })));
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&file, &link).unwrap();
        for error in [
            read(&link, 1000).unwrap_err(),
            read_private(&link, 1000).unwrap_err(),
            lock(&link).unwrap_err(),
        ] {
            let expected = format!("{} is a symbolic link: name the file itself", link.display());
            assert_eq!(error.to_string(), expected);
        }
        assert!(matches!(read(directory.path(), 1000), Err(FileError::Kind { .. })));
        let fifo = directory.path().join("fifo");
        rustix::fs::mknodat(rustix::fs::CWD, &fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
        assert!(matches!(read(&fifo, 1000), Err(FileError::Kind { .. })));
    }

    #[test]
    fn a_missing_directory_is_named_with_the_mend() {
        let directory = tempfile::tempdir().unwrap();
        let missing = directory.path().join("missing");
        let path = missing.join("file");
        for error in [
            lock(&path).unwrap_err(),
            try_lock(&path).unwrap_err(),
            replace(&path, b"").unwrap_err(),
        ] {
            let missing = missing.display();
            let expected = format!("the directory {missing} does not exist (install -d -m 0700 {missing})");
            assert_eq!(error.to_string(), expected);
        }
        assert!(
            read(&path, 100).unwrap_err().is_not_found(),
            "reading says what it always said"
        );
    }

    #[test]
    fn a_held_lock_is_respected_and_ends_with_its_holder() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("lock");
        let held = lock(&path).unwrap();
        assert!(matches!(try_lock(&path), Err(FileError::Locked { .. })));
        drop(held);
        assert!(try_lock(&path).is_ok());
    }
}
