//! A daemon whose workers die, hang and leak, and whose token is away, as its callers see it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod away;
mod control;
mod findings;
mod hijacked;
mod hung;
mod isolation;
mod load;
mod mechanisms;
mod memory;
mod missing;
mod objects;
mod pin;
mod rate;
mod restarts;
mod rotation;
mod table;
mod throttled;
mod upgrade;
mod workers;
