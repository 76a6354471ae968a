//! The shim does to a caller what its control file says, and nothing else.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

#[path = "shim/driver.rs"]
mod driver;
#[path = "shim/events.rs"]
mod events;
#[path = "shim/faults.rs"]
mod faults;
#[path = "shim/gcm.rs"]
mod gcm;
#[path = "shim/kwp.rs"]
mod kwp;
#[path = "shim/login.rs"]
mod login;
#[path = "shim/objects.rs"]
mod objects;
