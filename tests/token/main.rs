//! Daemons whose root key is in a token, with faults of tokens, modules and networks.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod keys;
mod look;
mod planted;
mod start;
mod templates;
