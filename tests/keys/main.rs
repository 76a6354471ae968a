//! `dekhand keys` on real files: the commands, their output, and the keyring afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod input;
mod loss;
mod node;
mod versions;
