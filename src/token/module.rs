//! The vendor's module in this process: loads, initialises and finalises it.

use std::path::Path;

use cryptoki::context::CInitializeArgs;
use cryptoki::context::CInitializeFlags;
use cryptoki::context::Pkcs11;
use cryptoki::session::Session;
use cryptoki::slot::Slot;

use crate::token::error::TokenError;
use crate::token::raw::Calls;
use crate::token::token_info;
pub(crate) use crate::token::token_info::TokenInfo;

/// An initialised module. Its sessions must be closed before it is finalised.
#[derive(Debug)]
pub(crate) struct Module {
    context: Pkcs11,
    calls: Calls,
}

impl Module {
    /// Loads the module and initialises it.
    pub(crate) fn load(path: &Path) -> Result<Self, TokenError> {
        let context = Pkcs11::new(path).map_err(|error| match error {
            cryptoki::error::Error::LibraryLoading(reason) => TokenError::Load {
                module: path.display().to_string(),
                reason: reason.to_string(),
            },
            cryptoki::error::Error::MissingSymbol(symbol) => TokenError::Load {
                module: path.display().to_string(),
                reason: format!("it has no {symbol}, so it is no PKCS#11 module"),
            },
            other => other.into(),
        })?;
        let calls = Calls::load(path)?;
        context.initialize(CInitializeArgs::new(CInitializeFlags::OS_LOCKING_OK))?;
        Ok(Self { context, calls })
    }

    /// The library, which stays in memory while this value lives, even after `C_Finalize`: a vendor's threads may
    /// outlast `C_Finalize`, and would crash without their code.
    pub(crate) fn library(&self) -> Pkcs11 {
        self.context.clone()
    }

    /// Calls `C_Finalize`. No call may be in flight, because that would crash or hang the process. No session may be
    /// left: its drop would later close a new session with the same handle.
    pub(crate) fn finalize(self) -> Result<(), TokenError> {
        Ok(self.context.finalize()?)
    }

    /// Opens a session on a slot.
    pub(crate) fn open(&self, slot: Slot, read_write: bool) -> Result<Session, TokenError> {
        Ok(if read_write {
            self.context.open_rw_session(slot)?
        } else {
            self.context.open_ro_session(slot)?
        })
    }

    /// The slots that hold a token. Their numbers change from one initialisation to the next.
    pub(crate) fn slots(&self) -> Result<Vec<Slot>, TokenError> {
        Ok(self.context.get_slots_with_token()?)
    }

    /// A slot's description.
    pub(crate) fn slot_description(&self, slot: Slot) -> Result<String, TokenError> {
        let info = self.context.get_slot_info(slot)?;
        Ok(token_info::text(info.slot_description().as_bytes()))
    }

    /// The description of the token in a slot.
    pub(crate) fn token_info(&self, slot: Slot) -> Result<TokenInfo, TokenError> {
        Ok(TokenInfo::of(&self.calls.token_info(slot)?))
    }

    /// Every mechanism that the token in a slot lists, by its number. A listed mechanism need not work.
    pub(crate) fn mechanisms(&self, slot: Slot) -> Result<Vec<u64>, TokenError> {
        self.calls.mechanisms(slot)
    }

    /// The functions that cryptoki cannot express.
    pub(crate) fn calls(&self) -> &Calls {
        &self.calls
    }
}
