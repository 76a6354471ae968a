//! The token worker: the one process that loads the vendor's module, holds the PIN and the sessions.

mod calls;
pub(super) mod error;
pub(super) mod key_object;
pub(super) mod mechanism;
pub(super) mod module;
mod operation;
pub(super) mod return_value;
mod token_info;
