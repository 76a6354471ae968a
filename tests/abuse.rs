//! Callers that mean harm, while others behave well and must not notice.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test may panic, and this one prints its table"
)]

#[path = "abuse/blocks.rs"]
mod blocks;
#[path = "abuse/floods.rs"]
mod floods;
#[path = "abuse/footprint.rs"]
mod footprint;
#[path = "abuse/good.rs"]
mod good;
#[path = "abuse/messages.rs"]
mod messages;
#[path = "abuse/others.rs"]
mod others;
#[path = "daemon/pulse.rs"]
mod pulse;
#[path = "daemon/run.rs"]
#[expect(dead_code, reason = "the tests of keyrings need more of it")]
mod run;
#[path = "abuse/scene.rs"]
mod scene;
#[path = "abuse/strangers.rs"]
mod strangers;
#[path = "abuse/table.rs"]
mod table;
#[path = "abuse/unfinished.rs"]
mod unfinished;
#[path = "abuse/wire.rs"]
mod wire;
