//! The shim does to a caller what its control file says, and nothing else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

mod driver;
mod events;
mod faults;
mod gcm;
mod kwp;
mod login;
mod objects;
