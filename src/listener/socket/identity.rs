//! Records the inode of the daemon's socket, so that no other file is ever removed.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use crate::health::CheckResult;
use crate::listener::socket::error::SocketError;

/// The path and inode of the daemon's socket. Clones share them, and may outlive the socket.
#[derive(Clone, Debug)]
pub struct Claim(Arc<Mutex<Option<Inode>>>);

#[derive(Clone, Debug)]
struct Inode {
    path: PathBuf,
    device: u64,
    number: u64,
}

impl Claim {
    /// The file that is at `path` now.
    pub(super) fn of(path: &Path) -> Result<Self, SocketError> {
        let metadata = std::fs::symlink_metadata(path).map_err(SocketError::refused("read", &path.display()))?;
        Ok(Self::new(Some(Inode {
            path: path.to_owned(),
            device: metadata.dev(),
            number: metadata.ino(),
        })))
    }

    /// For an abstract socket, which has no inode and cannot be removed.
    pub(super) fn nothing() -> Self {
        Self::new(None)
    }

    fn new(inode: Option<Inode>) -> Self {
        Self(Arc::new(Mutex::new(inode)))
    }

    /// Makes this claim, and all its clones, one to another socket.
    pub(super) fn replace(&self, newer: &Self) {
        let inode = newer.inode().clone();
        *self.inode() = inode;
    }

    fn inode(&self) -> MutexGuard<'_, Option<Inode>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the path still leads to the daemon's socket. Otherwise the daemon runs, but callers cannot reach it.
    pub fn verdict(&self) -> CheckResult {
        let Some(inode) = self.inode().clone() else {
            return Ok("listening".to_owned());
        };
        let path = inode.path.display();
        match std::fs::symlink_metadata(&inode.path) {
            Ok(metadata) if metadata.dev() == inode.device && metadata.ino() == inode.number => {
                Ok("listening".to_owned())
            }
            Ok(_) => Err(format!("{path} is no longer this daemon's socket")),
            Err(error) => Err(format!("{path} is gone: {error}")),
        }
    }

    pub(super) fn remove(&self) {
        let inode = self.inode().clone();
        if let (Some(inode), Ok(_)) = (inode, self.verdict())
            && let Err(error) = std::fs::remove_file(&inode.path)
        {
            tracing::warn!(socket = %inode.path.display(), %error, "cannot remove the socket");
        }
    }
}
