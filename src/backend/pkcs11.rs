//! Root keys in a PKCS#11 token, which only a worker process ever touches.

pub mod assignment;
pub mod ceremony;
mod label;
pub mod options;
pub mod pin;
mod protocol;
pub mod report;
pub mod spawner;
mod supervisor;
pub mod token_name;
pub(crate) mod worker;
