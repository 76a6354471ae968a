//! What a daemon lives through when its workers die, hang and leak and its token is away, as its callers see it.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

#[path = "survival/away.rs"]
mod away;
#[path = "survival/calls.rs"]
mod calls;
#[path = "survival/control.rs"]
mod control;
#[path = "survival/findings.rs"]
mod findings;
#[path = "survival/hijacked.rs"]
mod hijacked;
#[path = "survival/hung.rs"]
mod hung;
#[path = "survival/isolation.rs"]
mod isolation;
#[path = "survival/load.rs"]
mod load;
#[path = "survival/mechanisms.rs"]
mod mechanisms;
#[path = "survival/memory.rs"]
mod memory;
#[path = "survival/missing.rs"]
mod missing;
#[path = "token/node.rs"]
#[expect(dead_code, reason = "the tests of commands need more of it")]
mod node;
#[path = "survival/objects.rs"]
mod objects;
#[path = "survival/pin.rs"]
mod pin;
#[path = "token/processes.rs"]
mod processes;
#[path = "daemon/pulse.rs"]
mod pulse;
#[path = "survival/rate.rs"]
mod rate;
#[path = "survival/restarts.rs"]
mod restarts;
#[path = "survival/rotation.rs"]
mod rotation;
#[path = "daemon/run.rs"]
#[expect(dead_code, reason = "the tests of keyrings need more of it")]
mod run;
#[path = "survival/table.rs"]
mod table;
#[path = "survival/throttled.rs"]
mod throttled;
#[path = "survival/workers.rs"]
mod workers;
