//! Reads and writes the daemon's own files: owner-only, atomically, on a separate thread.

mod error;
pub mod instance_lock;
pub mod io_thread;
mod read;
pub(crate) mod stamp;

use std::fs::DirBuilder;
use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::io;
use std::io::Write as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::path::PathBuf;

use rustix::fs::OFlags;

use read::check_mode;
use read::check_private;

pub use error::FileError;
pub use read::check_writers;
pub use read::read;
pub use read::read_behind_link;
pub use read::read_granted;
pub use read::read_private;
pub use read::read_private_described;
pub use read::read_secret;
pub use read::read_state;
pub use read::read_trusted;

/// Creates or replaces a file atomically, mode 0600: written beside, synced, renamed, directory synced. A reader sees
/// the old content or the new, never a part, even after a crash. Writers of one path exclude each other by a [`lock`].
///
/// # Errors
/// The old content remains. Exception: if only the sync of the directory fails, the new content is in place, and a
/// crash of the machine may undo it.
pub fn replace(path: &Path, content: &[u8]) -> Result<(), FileError> {
    let beside = with_suffix(path, ".new");
    match std::fs::remove_file(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(FileError::io("remove", &beside)(error)),
        _ => {}
    }
    let written = write_new(&beside, content)
        .and_then(|()| std::fs::rename(&beside, path).map_err(FileError::io("replace", path)));
    if let Err(error) = written {
        // The partial file may hold secrets. An error of its removal is ignored in favour of the first error.
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
    hand_over(&file, path)?;
    file.write_all(content).map_err(FileError::io("write", path))?;
    file.sync_all().map_err(FileError::io("sync", path))
}

/// Gives a file that root creates to the owner of the directory: the daemon must be able to read files that a command
/// of root leaves there.
fn hand_over(file: &File, path: &Path) -> Result<(), FileError> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let directory = directory_of(path);
    let owner = std::fs::metadata(directory).map_err(FileError::io("read", directory))?;
    if owner.uid() == 0 {
        return Ok(());
    }
    std::os::unix::fs::fchown(file, Some(owner.uid()), Some(owner.gid())).map_err(FileError::io("hand over", path))
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

/// `path` with `suffix` appended to its last component.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Creates a directory that only this user may enter (0700), with its missing parents. An existing directory is
/// checked.
///
/// # Errors
/// It cannot be created, is not a directory, or other users may enter it.
pub fn private_directory(path: &Path) -> Result<(), FileError> {
    check_private(path, &directory(path)?, 0o700)
}

/// As [`private_directory`], for a command on the state directory. A command of root also accepts the directory of another
/// user, since the daemon may run as that user.
///
/// # Errors
/// As [`private_directory`].
pub fn state_directory(path: &Path) -> Result<(), FileError> {
    let metadata = directory(path)?;
    if rustix::process::geteuid().is_root() {
        check_mode(path, &metadata, 0o700)
    } else {
        check_private(path, &metadata, 0o700)
    }
}

/// Creates a directory (0700), with its missing parents, unless it exists.
fn directory(path: &Path) -> Result<Metadata, FileError> {
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
    Ok(metadata)
}

/// A file lock, held until this is dropped or the process ends.
#[derive(Debug)]
pub struct Lock(File);

impl Lock {
    /// The locked file, so that the holder can write its name into it.
    pub fn file(&self) -> &File {
        &self.0
    }
}

/// Locks the file at `path`, and waits while another process holds it. A missing file is created; it is never removed.
///
/// # Errors
/// The file cannot be created.
pub fn lock(path: &Path) -> Result<Lock, FileError> {
    let file = open_lock(path)?;
    file.lock().map_err(FileError::io("lock", path))?;
    Ok(Lock(file))
}

/// Locks the file at `path`, or fails at once with [`FileError::Locked`].
///
/// # Errors
/// The file is locked, or cannot be created.
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
        .truncate(false)
        .mode(0o600)
        .custom_flags(nofollow);
    // Only a file that this process has created is handed over.
    if let Ok(made) = options.clone().create_new(true).open(path) {
        hand_over(&made, path)?;
        return Ok(made);
    }
    let opened = options.create(true).open(path);
    let opened = opened.map_err(FileError::opening("open lock", path));
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
    fn what_root_makes_in_the_directory_of_another_user_is_that_users_and_root_reads_it() {
        if !rustix::process::geteuid().is_root() {
            return;
        }
        let directory = tempfile::tempdir().unwrap();
        std::os::unix::fs::chown(directory.path(), Some(4321), Some(4322)).unwrap();
        let (path, lock_path) = (directory.path().join("state"), directory.path().join("lock"));
        let owner = |path: &Path| {
            let metadata = std::fs::metadata(path).unwrap();
            (metadata.uid(), metadata.gid(), metadata.mode() & 0o777)
        };
        for _ in 0..2 {
            drop(lock(&lock_path).unwrap());
            replace(&path, b"one").unwrap();
            assert_eq!([owner(&path), owner(&lock_path)], [(4321, 4322, 0o600); 2]);
            assert_eq!(read_state(&path, 100).unwrap().as_slice(), b"one");
        }
        assert!(matches!(
            read_private(&path, 100),
            Err(FileError::Owner { uid: 4321, .. })
        ));
        std::os::unix::fs::chown(&path, Some(4323), None).unwrap();
        assert!(matches!(
            read_state(&path, 100),
            Err(FileError::Owner { uid: 4323, .. })
        ));
        // One that was there stays whose it was.
        std::os::unix::fs::chown(&lock_path, Some(0), Some(0)).unwrap();
        drop(lock(&lock_path).unwrap());
        assert_eq!(owner(&lock_path), (0, 0, 0o600));
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
