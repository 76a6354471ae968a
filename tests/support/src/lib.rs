//! Nodes, daemons, their processes and callers, for the tests and the benchmarks.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::missing_panics_doc,
    clippy::new_without_default,
    reason = "what fails here fails the test that uses it"
)]

pub mod calls;
pub mod daemon;
pub mod keyring_node;
pub mod paper;
pub mod processes;
pub mod pulse;
pub mod token_node;
