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
#[path = "sim/draw.rs"]
mod draw;
#[path = "sim/judge.rs"]
mod judge;
#[path = "sim/link.rs"]
mod link;
#[path = "sim/operator.rs"]
mod operator;
#[path = "sim/options.rs"]
mod options;
#[path = "sim/plan.rs"]
mod plan;
#[path = "sim/run.rs"]
mod run;
#[path = "sim/store.rs"]
mod store;
#[path = "sim/world.rs"]
mod world;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::options::Options;
use crate::plan::Plan;
use crate::run::Outcome;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("sim: {wrong}");
            return ExitCode::from(2);
        }
    };
    if let Some(seed) = options.seed {
        return one(seed);
    }
    many(&options)
}

/// Repeats one schedule and prints its story.
fn one(seed: u64) -> ExitCode {
    let plan = Plan::of_seed(seed);
    let outcome = run::run(&plan, true);
    println!("seed {seed}: {:?}", plan.setup);
    for line in &outcome.story {
        println!("{line}");
    }
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    }
}

/// Runs schedules until one fails.
fn many(options: &Options) -> ExitCode {
    let began = Instant::now();
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(options.schedules);
    let failed: Mutex<Vec<(u64, Outcome)>> = Mutex::default();
    let (calls, switches, hours) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failed.lock().unwrap().len() >= options.failures {
                        return;
                    }
                    let outcome = run::run(&Plan::of_seed(seed), options.story);
                    calls.fetch_add(outcome.calls, Ordering::Relaxed);
                    switches.fetch_add(outcome.switches, Ordering::Relaxed);
                    hours.fetch_add(outcome.seconds / 3600, Ordering::Relaxed);
                    if outcome.violation.is_some() {
                        failed.lock().unwrap().push((seed, outcome));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let ran = next.load(Ordering::Relaxed).min(end) - options.from;
    println!(
        "{ran} schedules from seed {}, {} hours, {} calls, {} switches in {:.1?}",
        options.from,
        hours.into_inner(),
        calls.into_inner(),
        switches.into_inner(),
        began.elapsed()
    );
    for (seed, outcome) in &failed {
        if let Some(violation) = &outcome.violation {
            println!("seed {seed}: {}: {}", violation.invariant, violation.what);
            println!("  its story: cargo test --test sim -- --seed {seed}");
        }
    }
    if failed.is_empty() {
        println!("test result: ok. {ran} passed; 0 failed;");
        ExitCode::SUCCESS
    } else {
        println!("test result: FAILED. {} passed; {} failed;", ran - failed.len() as u64, failed.len());
        ExitCode::FAILURE
    }
}
