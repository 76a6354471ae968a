//! The program under an operator and a supervisor: started, stopped, killed, starved, reconfigured.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

mod configuration;
mod logs;
mod process;
mod rotation;
mod status;
mod unfinished;
mod v1beta1;
mod volumes;
