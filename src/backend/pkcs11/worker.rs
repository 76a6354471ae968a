//! The token worker: the one process that loads the vendor's module, holds the PIN and the sessions.

mod attribute;
pub(super) mod error;
mod find;
pub(super) mod key_object;
pub(super) mod module;
mod pin_record;
pub(super) mod return_value;

use crate::backend::pkcs11::protocol::frame;
use crate::proto::token_worker as wire;

/// Serves the daemon at the other end of stdin until that is gone.
pub(crate) fn main(_parent: u32) -> std::process::ExitCode {
    while frame::read::<wire::ToWorker>(std::io::stdin()).is_ok() {}
    std::process::ExitCode::SUCCESS
}
