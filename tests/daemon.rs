//! The program under an operator and a supervisor: started, stopped, killed, starved, reconfigured.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

#[path = "daemon/configuration.rs"]
mod configuration;
#[path = "daemon/logs.rs"]
mod logs;
#[path = "daemon/process.rs"]
mod process;
#[path = "daemon/pulse.rs"]
mod pulse;
#[path = "daemon/rotation.rs"]
mod rotation;
#[path = "daemon/run.rs"]
mod run;
#[path = "daemon/unfinished.rs"]
mod unfinished;
#[path = "daemon/v1beta1.rs"]
mod v1beta1;
