//! The token worker: the one process that loads the vendor's module, holds the PIN and the sessions.

mod attribute;
pub(super) mod error;
mod find;
pub(super) mod key_object;
pub(super) mod keys;
pub(super) mod module;
mod pin_record;
pub(super) mod return_value;
