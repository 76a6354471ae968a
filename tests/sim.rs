//! The contract between kube-apiserver and dekhand as a simulation: random schedules, turned time, one thread each.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may panic, and prints"
)]

#[path = "sim/api.rs"]
mod api;
#[path = "sim/chance.rs"]
mod chance;
#[path = "sim/connection.rs"]
mod connection;
#[path = "sim/daemon.rs"]
mod daemon;
#[path = "sim/judge.rs"]
mod judge;
#[path = "sim/link.rs"]
mod link;
#[path = "sim/operator.rs"]
mod operator;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/run.rs"]
mod run;
#[path = "sim/store.rs"]
mod store;
#[path = "sim/world.rs"]
mod world;

use crate::plan::Plan;
use crate::plan::Setup;

fn main() {
    let setup = Setup::quiet(store::Topology::Shared, store::Flavour::Keyring);
    let began = std::time::Instant::now();
    let outcome = run::run(&Plan { setup, steps: vec![(600, plan::Step::Keys(0, operator::Command::Rotate(600)))] }, true);
    for line in &outcome.story { println!("{line}"); }
    println!("{:?} {} calls {} switches {} s in {:?}", outcome.violation, outcome.calls, outcome.switches, outcome.seconds, began.elapsed());
}
