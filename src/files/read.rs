//! Reads whole files, after checks of their owner and mode.

use std::fs::File;
use std::fs::Metadata;
use std::fs::OpenOptions;
use std::io;
use std::io::Read as _;
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::Mode;
use rustix::fs::OFlags;
use rustix::fs::ResolveFlags;
use rustix::fs::StatVfsMountFlags;
use rustix::io::Errno;
use zeroize::Zeroizing;

use crate::files::directory_of;
use crate::files::error::FileError;

/// Reads a whole file of at most `limit` bytes into a buffer that is wiped.
///
/// # Errors
/// It cannot be read, is not a regular file, or is larger.
pub fn read(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_checked(path, limit, |_| Ok(())).map(|(bytes, _)| bytes)
}

/// Reads a file that only its owner may read or write; the owner must be root or this process's user. A symbolic link
/// is refused.
///
/// # Errors
/// As [`read`], and for wrong modes and owners.
pub fn read_private(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    read_private_described(path, limit).map(|(bytes, _)| bytes)
}

/// As [`read_private`], with the file's metadata from before the read.
///
/// # Errors
/// As [`read_private`].
pub fn read_private_described(path: &Path, limit: u64) -> Result<(Zeroizing<Vec<u8>>, Metadata), FileError> {
    read_checked(path, limit, |metadata| check_private(path, metadata, 0o600))
}

/// As [`read_private`], for a state file of the daemon. A command of root also accepts a file that belongs to the owner
/// of the directory, since the daemon may run as that user.
///
/// # Errors
/// As [`read_private`].
pub fn read_state(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let mut owner = rustix::process::geteuid().as_raw();
    if owner == 0 {
        // Without a directory there is no file either: opening it fails below.
        owner = std::fs::metadata(directory_of(path)).map_or(0, |directory| directory.uid());
    }
    let read = read_checked(path, limit, |metadata| {
        if metadata.uid() != owner {
            check_owner(path, metadata)?;
        }
        check_mode(path, metadata, 0o600)
    });
    read.map(|(bytes, _)| bytes)
}

/// As [`read_private_described`], for a file that a service manager provides to this process's user. The file may be
/// readable through an access control list, whose mask appears as the group's permission bits.
///
/// # Errors
/// As [`read_private`].
pub fn read_granted(path: &Path, limit: u64) -> Result<(Zeroizing<Vec<u8>>, Metadata), FileError> {
    read_checked(path, limit, |metadata| {
        check_owner(path, metadata)?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o037 != 0 {
            return Err(FileError::Mode {
                path: path.to_owned(),
                mode,
                wanted: 0o400,
            });
        }
        Ok(())
    })
}

/// Reads the regular file behind a kernel link at `path`, such as those in `/proc/self/fd`. Owner and mode are not
/// checked: the process that opened the file is responsible for them.
///
/// # Errors
/// As [`read`].
pub fn read_behind_link(path: &Path, limit: u64) -> Result<(Zeroizing<Vec<u8>>, Metadata), FileError> {
    // Checked before the file is opened: opening a terminal or a device can have side effects.
    let metadata = std::fs::metadata(path).map_err(FileError::io("read", path))?;
    if !metadata.is_file() {
        return Err(not_a_file(path));
    }
    read_opened(path, OFlags::empty(), limit, |_| Ok(()))
}

/// As [`read_private_described`], for a secret that an operator provides. Accepts two more things, which Kubernetes makes
/// in a Secret volume, if the file system is mounted read-only for this process, so that nobody can change them here: a
/// symbolic link that stays below the file's directory (`..data`), and read permission for a group of this process
/// (`fsGroup`).
///
/// # Errors
/// As [`read_private`].
pub fn read_secret(path: &Path, limit: u64) -> Result<(Zeroizing<Vec<u8>>, Metadata), FileError> {
    let file = open_below(path).map_err(FileError::opening("open", path))?;
    let is_link = path.is_symlink();
    let status = rustix::fs::fstatvfs(&file).map_err(|errno| FileError::io("read", path)(errno.into()))?;
    let is_read_only = status.f_flag.contains(StatVfsMountFlags::RDONLY);
    read_from(&file, path, limit, |metadata| {
        if !is_read_only {
            return if is_link {
                Err(FileError::Link { path: path.to_owned() })
            } else {
                check_private(path, metadata, 0o600)
            };
        }
        check_owner(path, metadata)?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o037 != 0 || mode & 0o040 != 0 && !is_own_group(metadata.gid()) {
            return Err(FileError::SecretVolume {
                path: path.to_owned(),
                mode,
            });
        }
        Ok(())
    })
}

/// Opens a file, and follows symbolic links only if they stay below its directory.
fn open_below(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let Some(name) = path.file_name() else {
        return Err(io::ErrorKind::IsADirectory.into());
    };
    let directory = rustix::fs::open(
        directory_of(path),
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    match rustix::fs::openat2(&directory, name, flags, Mode::empty(), resolve) {
        Ok(file) => Ok(file.into()),
        // The link leaves the directory.
        Err(Errno::XDEV) => Err(Errno::LOOP.into()),
        // Linux before 5.6, or a filter that does not know the call: no link is followed.
        Err(Errno::NOSYS | Errno::PERM) => {
            Ok(rustix::fs::openat(&directory, name, flags | OFlags::NOFOLLOW, Mode::empty())?.into())
        }
        Err(errno) => Err(errno.into()),
    }
}

fn is_own_group(gid: u32) -> bool {
    let own = rustix::process::getegid().as_raw() == gid;
    own || rustix::process::getgroups().is_ok_and(|groups| groups.iter().any(|group| group.as_raw() == gid))
}

/// Reads a file that only its owner may write; the owner must be root or this process's user. Other users may read it.
/// Symbolic links are followed, and the file behind them is checked.
///
/// # Errors
/// As [`read`], and for wrong modes and owners.
pub fn read_trusted(path: &Path, limit: u64) -> Result<Zeroizing<Vec<u8>>, FileError> {
    let path = std::fs::canonicalize(path).map_err(FileError::io("open", path))?;
    read_checked(&path, limit, |metadata| {
        check_owner(&path, metadata)?;
        let mode = metadata.mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(FileError::Writable {
                path: path.clone(),
                mode,
            });
        }
        Ok(())
    })
    .map(|(bytes, _)| bytes)
}

/// Checks that only root and this process's user can change or replace the file at `path`: by its own owner and mode, and
/// by those of all directories above it, as named and behind links. In a directory with the sticky bit, other users
/// cannot replace files that are not theirs.
///
/// # Errors
/// The first file or directory that another user can change; or one that cannot be looked at.
pub fn check_writers(path: &Path) -> Result<(), FileError> {
    const STICKY: u32 = 0o1000;
    let behind_links = std::fs::canonicalize(path).map_err(FileError::io("open", path))?;
    let above = |path: &Path| path.ancestors().skip(1).map(Path::to_owned).collect::<Vec<_>>();
    let mut places = vec![behind_links.clone()];
    places.extend(above(&behind_links));
    places.extend(above(path));
    for place in places.iter().filter(|place| !place.as_os_str().is_empty()) {
        let metadata = std::fs::metadata(place).map_err(FileError::io("read", place))?;
        check_owner(place, &metadata)?;
        let mode = metadata.mode() & 0o7777;
        let is_sticky = metadata.is_dir() && mode & STICKY != 0;
        if mode & 0o022 != 0 && !is_sticky {
            return Err(FileError::Writable {
                path: place.clone(),
                mode,
            });
        }
    }
    Ok(())
}

fn read_checked(
    path: &Path,
    limit: u64,
    check: impl FnOnce(&Metadata) -> Result<(), FileError>,
) -> Result<(Zeroizing<Vec<u8>>, Metadata), FileError> {
    read_opened(path, OFlags::NOFOLLOW, limit, check)
}

fn read_opened(
    path: &Path,
    flags: OFlags,
    limit: u64,
    check: impl FnOnce(&Metadata) -> Result<(), FileError>,
) -> Result<(Zeroizing<Vec<u8>>, Metadata), FileError> {
    // NONBLOCK: opening a FIFO must not wait for its writer.
    let flags = flags | OFlags::NONBLOCK;
    let flags = i32::try_from(flags.bits()).unwrap_or_default();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(flags);
    let file = options.open(path).map_err(FileError::opening("open", path))?;
    read_from(&file, path, limit, check)
}

fn read_from(
    mut file: &File,
    path: &Path,
    limit: u64,
    check: impl FnOnce(&Metadata) -> Result<(), FileError>,
) -> Result<(Zeroizing<Vec<u8>>, Metadata), FileError> {
    let metadata = file.metadata().map_err(FileError::io("read", path))?;
    if !metadata.is_file() {
        return Err(not_a_file(path));
    }
    check(&metadata)?;
    let too_large = || FileError::TooLarge {
        path: path.to_owned(),
        limit,
    };
    if metadata.len() > limit {
        return Err(too_large());
    }
    // One allocation that never grows, since growing would leave an unwiped copy.
    let capacity = usize::try_from(limit.min(metadata.len()) + 1).map_err(|_| too_large())?;
    let mut bytes = Zeroizing::new(vec![0; capacity]);
    let mut filled = 0;
    while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
        match file.read(rest) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(FileError::io("read", path)(error)),
        }
    }
    if filled == capacity {
        // The file grew while it was read. dekhand's own writers replace files instead.
        return Err(too_large());
    }
    bytes.truncate(filled);
    Ok((bytes, metadata))
}

fn not_a_file(path: &Path) -> FileError {
    FileError::Kind {
        path: path.to_owned(),
        expected: "regular file",
    }
}

fn check_owner(path: &Path, metadata: &Metadata) -> Result<(), FileError> {
    let own = rustix::process::geteuid().as_raw();
    if metadata.uid() != 0 && metadata.uid() != own {
        return Err(FileError::Owner {
            path: path.to_owned(),
            uid: metadata.uid(),
            own,
        });
    }
    Ok(())
}

pub(super) fn check_private(path: &Path, metadata: &Metadata, wanted: u32) -> Result<(), FileError> {
    check_owner(path, metadata)?;
    check_mode(path, metadata, wanted)
}

pub(super) fn check_mode(path: &Path, metadata: &Metadata, wanted: u32) -> Result<(), FileError> {
    let mode = metadata.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(FileError::Mode {
            path: path.to_owned(),
            mode,
            wanted,
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn a_file_that_others_can_read_is_refused_with_the_mend() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("keys");
        std::fs::write(&path, "x").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        let error = read_private(&path, 100).unwrap_err().to_string();
        assert!(error.contains("mode 0640") && error.contains("chmod 0600"), "{error}");
    }

    #[test]
    fn a_trusted_file_may_be_read_but_not_written_by_others() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("config");
        std::fs::write(&path, "x").unwrap();
        let link = directory.path().join("link");
        std::os::unix::fs::symlink(&path, &link).unwrap();
        let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        set_mode(0o644);
        assert_eq!(read_trusted(&path, 100).unwrap().as_slice(), b"x");
        assert_eq!(read_trusted(&link, 100).unwrap().as_slice(), b"x");
        for mode in [0o664, 0o646] {
            set_mode(mode);
            for name in [&path, &link] {
                assert!(matches!(read_trusted(name, 100), Err(FileError::Writable { .. })));
            }
        }
    }

    #[test]
    fn writers_of_a_file_and_of_each_directory_above_it_are_found_as_named_and_behind_links() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().canonicalize().unwrap();
        let (real, named) = (directory.join("real"), directory.join("named"));
        let module = real.join("lib.so");
        let link = named.join("lib.so");
        std::fs::create_dir(&real).unwrap();
        std::fs::create_dir(&named).unwrap();
        std::fs::write(&module, "x").unwrap();
        std::os::unix::fs::symlink(&module, &link).unwrap();
        let set_mode =
            |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        for (place, good) in [(&module, 0o644), (&real, 0o755), (&named, 0o755)] {
            set_mode(place, good);
            check_writers(&link).unwrap();
            for bad in [good | 0o020, good | 0o002] {
                set_mode(place, bad);
                let error = check_writers(&link).unwrap_err();
                assert!(
                    matches!(&error, FileError::Writable { path, .. } if path == place),
                    "{error}"
                );
            }
            set_mode(place, good);
        }
        set_mode(&real, 0o1777);
        check_writers(&link).unwrap();
        assert!(check_writers(&directory.join("missing")).unwrap_err().is_not_found());
    }

    #[test]
    fn a_granted_file_may_show_the_mask_of_an_access_control_list_and_no_more() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("credential");
        std::fs::write(&path, "x").unwrap();
        let set_mode = |mode| std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        for mode in [0o400, 0o600, 0o440] {
            set_mode(mode);
            assert_eq!(read_granted(&path, 100).unwrap().0.as_slice(), b"x");
        }
        for mode in [0o460, 0o444, 0o401] {
            set_mode(mode);
            assert!(
                matches!(read_granted(&path, 100), Err(FileError::Mode { .. })),
                "{mode:o}"
            );
        }
    }
}
