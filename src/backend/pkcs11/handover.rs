//! Passes a process its assignment while it starts.
//!
//! The document is a sealed memfd, and the new process's stdout. So it is complete before the process runs, has no
//! limit of length, blocks nobody, and cannot come from a process that is started later. A message on a channel would
//! have to be distinguished from all later messages.

use std::fs::File;
use std::io;
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt as _;

use rustix::fs::MemfdFlags;
use rustix::fs::SealFlags;
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::backend::pkcs11::ipc::BUILD;

/// Far more than the assignments of the largest configuration need.
const LONGEST: u64 = 16 << 20;

/// The document cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum HandoverError {
    /// There is no document.
    #[error("the parent process has passed no document")]
    Nothing(#[source] io::Error),
    /// Another process could still change it.
    #[error("the document from the parent process is not sealed")]
    NotSealed,
    /// The parent process is another build.
    #[error("this process is build {BUILD}, but was started by build {0}")]
    OtherBuild(String),
    /// It is not valid.
    #[error("the document from the parent process cannot be read")]
    Content(#[from] serde_json::Error),
}

/// Makes a document for a process that is about to start, as its stdout.
///
/// # Errors
/// The operating system refuses.
pub(super) fn give(what: &impl Serialize) -> io::Result<OwnedFd> {
    give_as(BUILD, what)
}

fn give_as(build: &str, what: &impl Serialize) -> io::Result<OwnedFd> {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let memory = rustix::fs::memfd_create("dekhand", flags | MemfdFlags::NOEXEC_SEAL).or_else(|error| {
        // A kernel before 6.3; later ones may require the flag.
        if error == rustix::io::Errno::INVAL {
            rustix::fs::memfd_create("dekhand", flags)
        } else {
            Err(error)
        }
    })?;
    let mut file = File::from(memory);
    let document = serde_json::to_string(what).map_err(io::Error::other)?;
    file.write_all(format!("{build}\n{document}").as_bytes())?;
    rustix::fs::fcntl_add_seals(&file, sealed())?;
    Ok(file.into())
}

/// Takes the document, and leaves stderr as stdout: what a module prints must not reach the data of a command.
///
/// # Errors
/// There is no document, or it is of another build.
pub(super) fn take<W: DeserializeOwned>() -> Result<W, HandoverError> {
    let document = io::stdout()
        .as_fd()
        .try_clone_to_owned()
        .map_err(HandoverError::Nothing)?;
    rustix::stdio::dup2_stdout(io::stderr()).map_err(|error| HandoverError::Nothing(error.into()))?;
    read(&document.into())
}

fn read<W: DeserializeOwned>(document: &File) -> Result<W, HandoverError> {
    let seals = rustix::fs::fcntl_get_seals(document).map_err(|error| HandoverError::Nothing(error.into()))?;
    if !seals.contains(sealed()) {
        return Err(HandoverError::NotSealed);
    }
    let bytes = whole(document).map_err(HandoverError::Nothing)?;
    let mut parts = bytes.splitn(2, |byte| *byte == b'\n');
    let build = parts.next().unwrap_or_default();
    if build != BUILD.as_bytes() {
        return Err(HandoverError::OtherBuild(String::from_utf8_lossy(build).into_owned()));
    }
    Ok(serde_json::from_slice(parts.next().unwrap_or_default())?)
}

/// Reads from the beginning: the writer has moved the offset, which both processes share.
fn whole(document: &File) -> io::Result<Vec<u8>> {
    let length = document.metadata()?.len();
    let length = usize::try_from(length.min(LONGEST)).map_err(io::Error::other)?;
    let mut bytes = vec![0; length];
    document.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn sealed() -> SealFlags {
    SealFlags::SEAL | SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_read_and_can_be_changed_by_nobody() {
        let mut document = File::from(give(&vec!["one", "two"]).unwrap());
        document.write_all(b"three").unwrap_err();
        assert_eq!(read::<Vec<String>>(&document).unwrap(), ["one", "two"]);
    }

    #[test]
    fn another_build_and_what_is_open_for_changes_are_refused() {
        let other = File::from(give_as("0.0.0 of somebody else", &1).unwrap());
        let error = read::<u32>(&other).unwrap_err();
        assert!(
            matches!(&error, HandoverError::OtherBuild(build) if build.contains("somebody")),
            "{error}"
        );
        let open = rustix::fs::memfd_create("open", MemfdFlags::ALLOW_SEALING).unwrap();
        let error = read::<u32>(&open.into()).unwrap_err();
        assert!(matches!(error, HandoverError::NotSealed), "{error}");
        let no_memfd = File::open("/dev/null").unwrap();
        let error = read::<u32>(&no_memfd).unwrap_err();
        assert!(matches!(error, HandoverError::Nothing(_)), "{error}");
    }
}
