//! The vendor's module in this process: loaded, initialised, finalised.

use std::path::Path;
use std::path::PathBuf;

use cryptoki::context::CInitializeArgs;
use cryptoki::context::CInitializeFlags;
use cryptoki::context::Pkcs11;
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use crate::backend::pkcs11::worker::error::TokenError;

/// An initialised module. Sessions must be gone before it is finalised.
#[derive(Debug)]
pub(in crate::backend::pkcs11) struct Module {
    path: PathBuf,
    context: Pkcs11,
}

impl Module {
    /// Loads the module and initialises it.
    pub(in crate::backend::pkcs11) fn load(path: &Path) -> Result<Self, TokenError> {
        let context = Pkcs11::new(path).map_err(|error| match error {
            cryptoki::error::Error::LibraryLoading(reason) => TokenError::Load {
                module: path.display().to_string(),
                reason: reason.to_string(),
            },
            other => other.into(),
        })?;
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        Ok(Self {
            path: path.to_owned(),
            context,
        })
    }

    /// `C_Finalize`. No call may be in flight and no session be left: the first kills or hangs the process, the second
    /// would close a new session whose handle is the same.
    pub(in crate::backend::pkcs11) fn finalize(self) -> Result<(), TokenError> {
        Ok(self.context.finalize()?)
    }

    /// Opens a session on a slot.
    pub(in crate::backend::pkcs11) fn open(&self, slot: Slot, read_write: bool) -> Result<Session, TokenError> {
        Ok(if read_write {
            self.context.open_rw_session(slot)?
        } else {
            self.context.open_ro_session(slot)?
        })
    }
}
