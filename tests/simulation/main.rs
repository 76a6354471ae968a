//! The contract between kube-apiserver and dekhand as a simulation: random schedules, turned time, one thread each.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a test may panic, and prints"
)]

mod api;
mod chance;
mod connection;
mod daemon;
mod draw;
mod judge;
mod known;
mod link;
mod operator;
mod options;
mod panics;
mod plan;
mod record;
mod run;
mod store;
mod world;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::options::Options;
use crate::plan::Plan;
use crate::run::Outcome;

/// Every so many-th seed is run twice.
const REPEATED: u64 = 50;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => return ExitCode::SUCCESS,
        Err(wrong) => {
            eprintln!("simulation: {wrong}");
            return ExitCode::from(2);
        }
    };
    panics::watch();
    if let Some(seed) = options.seed {
        return one(&format!("seed {seed}"), &Plan::of_seed(seed));
    }
    if let Some(promise) = &options.known {
        let Some((_, plan)) = known::all().into_iter().find(|(name, _)| name == promise) else {
            eprintln!("simulation: no schedule by hand is called {promise}");
            return ExitCode::from(2);
        };
        return one(promise, &plan);
    }
    many(&options)
}

/// Repeats one schedule and prints its story.
fn one(name: &str, plan: &Plan) -> ExitCode {
    let outcome = run::run(plan, true);
    println!("{name}: {:?}", plan.setup);
    for line in &outcome.story {
        println!("{line}");
    }
    match outcome.violation {
        None => ExitCode::SUCCESS,
        Some(_) => ExitCode::FAILURE,
    }
}

/// Runs the schedules by hand until `failures` of them have failed.
fn known(failures: usize) -> usize {
    let (mut ran, mut failed) = (0, 0);
    for (promise, plan) in known::all() {
        if failed >= failures {
            break;
        }
        ran += 1;
        let outcome = run::run(&plan, true);
        let Some(violation) = outcome.violation else {
            continue;
        };
        println!("regression {promise}: {}: {}", violation.invariant, violation.what);
        println!("  its story: cargo test --test simulation -- --known {promise}");
        failed += 1;
    }
    println!("{ran} schedules by hand, {failed} failed");
    failed
}

/// Two runs of one seed tell one story, else a seed that fails would be worth nothing.
fn repeats(seed: u64) -> bool {
    let plan = Plan::of_seed(seed);
    let same = run::run(&plan, true).story == run::run(&plan, true).story;
    if !same {
        println!("unrepeatable: seed {seed} tells another story each time");
    }
    same
}

/// Runs schedules until some fail.
fn many(options: &Options) -> ExitCode {
    let began = Instant::now();
    let failures = options.failures.unwrap_or(1);
    if !options.only_seeds && known(options.failures.unwrap_or(usize::MAX)) > 0 || !repeats(options.from) {
        println!("test result: FAILED. 0 passed; 1 failed;");
        return ExitCode::FAILURE;
    }
    let next = AtomicU64::new(options.from);
    let end = options.from.saturating_add(options.schedules);
    let failed: Mutex<Vec<(u64, Outcome)>> = Mutex::default();
    let (calls, switches, hours) = (AtomicU64::new(0), AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..options.threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= end || failed.lock().unwrap().len() >= failures {
                        return;
                    }
                    let mut outcome = run::run(&Plan::of_seed(seed), options.story);
                    if seed.is_multiple_of(REPEATED) {
                        outcome.demand_repeated(&run::run(&Plan::of_seed(seed), false));
                    }
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
            println!("  its story: cargo test --test simulation -- --seed {seed}");
        }
    }
    if failed.is_empty() {
        println!("test result: ok. {ran} passed; 0 failed;");
        ExitCode::SUCCESS
    } else {
        println!(
            "test result: FAILED. {} passed; {} failed;",
            ran - failed.len() as u64,
            failed.len()
        );
        ExitCode::FAILURE
    }
}
