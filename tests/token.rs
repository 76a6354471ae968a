//! Daemons whose root key is in a token, with faults of tokens, modules and networks.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

#[path = "token/keys.rs"]
mod keys;
#[path = "token/look.rs"]
mod look;
#[path = "token/node.rs"]
#[expect(dead_code, reason = "the tests of survival need more of it")]
mod node;
#[path = "token/planted.rs"]
mod planted;
#[path = "daemon/run.rs"]
#[expect(dead_code, reason = "the tests of keyrings need more of it")]
mod run;
#[path = "token/start.rs"]
mod start;
#[path = "token/templates.rs"]
mod templates;
