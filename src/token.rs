//! PKCS#11 tokens: modules, logins, objects and wraps. Every call runs in the calling thread.
//!
//! This module has no processes, queues or timeouts; the worker (`backend::pkcs11::worker`) adds those. A `login` opens
//! a `session`; `objects` finds the versions of a root key, `wrap` uses them, `keygen` makes them.

pub mod assignment;
pub(crate) mod attribute;
pub mod ceremony;
mod credential;
pub(crate) mod error;
pub(crate) mod key_object;
pub(crate) mod keygen;
pub(crate) mod label;
pub(crate) mod login;
pub(crate) mod module;
pub(crate) mod objects;
pub mod options;
pub(crate) mod params;
pub mod pin;
pub(crate) mod pin_history;
pub(crate) mod problem;
pub mod proof_record;
pub(crate) mod raw;
pub mod report;
pub(crate) mod return_value;
pub(crate) mod session;
mod state_file;
#[cfg(test)]
pub(crate) mod test_token;
mod token_info;
pub mod uri;
pub mod variable;
pub(crate) mod wrap;
