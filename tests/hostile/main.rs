//! Callers that mean harm, while others behave well and must not notice.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, and this one prints its table"
)]

mod blocks;
mod floods;
mod footprint;
mod good;
mod messages;
mod others;
mod scene;
mod strangers;
mod table;
mod unfinished;
mod wire;
