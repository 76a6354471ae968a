//! The fate of calls while no worker has an open token.

use std::time::Duration;

use tokio::time::Instant;
use tokio::time::sleep;

use super::Bench;
use super::message;
use super::seconds;
use super::waits;
use crate::backend::pkcs11::supervisor::fake::Conduct;
use crate::backend::pkcs11::supervisor::fake::FakeWorkers;
use crate::backend::pkcs11::supervisor::fake::Manners;
use crate::backend::pkcs11::supervisor::fake::outage;
use crate::token::assignment::Role;
use crate::token::problem::Failure;

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_answers_all_who_wait_for_it() {
    let bench = Bench::failing(outage("the token is away"));
    let calls: Vec<_> = (0..10).map(|_| bench.spawn()).collect();
    for call in calls {
        assert_eq!(message(call.await.unwrap()), "the token is away");
    }
    assert_eq!(bench.starts(), 1);
    bench.workers.lock().opening = Conduct::Good;
    bench.call().await.unwrap();
    assert_eq!(bench.starts(), 2, "who comes later waits for the next attempt");
}

#[tokio::test(start_paused = true)]
async fn a_returning_token_is_used_within_a_second_if_anybody_calls() {
    let bench = Bench::failing(outage("the token is away"));
    sleep(seconds(600)).await;
    let attempts = bench.starts();
    assert!(
        attempts < 120,
        "without calls it is tried every 15 s at most: {attempts}"
    );
    // Calls during an outage are answered at a limited rate.
    let begin = Instant::now();
    for _ in 0..20 {
        bench.call().await.unwrap_err();
    }
    assert!(begin.elapsed() > seconds(4), "no storm");
    bench.workers.lock().opening = Conduct::Good;
    let begin = Instant::now();
    bench.call().await.unwrap();
    assert!(begin.elapsed() < seconds(1), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn workers_that_leave_slowly_do_not_pile_up_and_hold_up_no_attempt() {
    let workers = FakeWorkers::default();
    workers.lock().goodbye = seconds(2);
    workers.lock().opening = Conduct::Fail(outage("the token is away"));
    let bench = Bench::new(1, workers);
    let begin = Instant::now();
    for _ in 0..20 {
        bench.call().await.unwrap_err();
    }
    assert!(
        begin.elapsed() < seconds(12),
        "as often as with workers that leave at once"
    );
    assert_eq!(bench.workers.lock().most_living, 2, "the spawner starts no third");
}

#[tokio::test(start_paused = true)]
async fn while_one_serves_and_one_finishes_there_is_no_third() {
    let workers = FakeWorkers::default();
    workers.lock().growth = 60;
    let bench = Bench::new(2, workers);
    bench.workers.script([Conduct::Slow(seconds(9))]);
    let slow = bench.spawn();
    sleep(seconds(1)).await;
    // More than half of their memory limit, in two workers one after the other.
    for _ in 0..40 {
        bench.call().await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    assert!(!slow.is_finished() && bench.starts() == 2);
    slow.await.unwrap().unwrap();
    bench.call().await.unwrap();
    sleep(seconds(1)).await;
    assert_eq!(bench.starts(), 3);
    assert_eq!(bench.workers.lock().most_living, 2);
}

#[tokio::test(start_paused = true)]
async fn a_rejected_pin_is_tried_no_sooner_for_those_who_call() {
    let failure = Failure {
        pin_rejected: true,
        ..outage("the token has rejected the PIN")
    };
    let bench = Bench::failing(failure);
    sleep(seconds(100)).await;
    let attempts = bench.starts();
    for _ in 0..1000 {
        assert_eq!(message(bench.call().await), "the token has rejected the PIN");
    }
    assert_eq!(bench.starts(), attempts);
    assert!(bench.pin_rejected());
    bench.workers.lock().opening = Conduct::Good;
    sleep(seconds(15)).await;
    bench.call().await.unwrap();
    assert!(!bench.pin_rejected());
}

#[tokio::test(start_paused = true)]
async fn a_command_never_tries_a_rejected_pin_again() {
    let failure = Failure {
        pin_rejected: true,
        ..outage("the token has rejected the PIN")
    };
    for when_opened in [true, false] {
        let workers = FakeWorkers::default();
        if when_opened {
            workers.lock().opening = Conduct::Fail(failure.clone());
        } else {
            workers.script([Conduct::Fail(failure.clone())]);
        }
        let bench = Bench::of_role(Role::Look, 1, workers);
        for _ in 0..10 {
            assert_eq!(message(bench.call().await), "the token has rejected the PIN");
            sleep(seconds(60)).await;
        }
        assert_eq!(bench.starts(), 1);
        assert!(bench.workers.lock().begun.len() <= 1);
        assert!(bench.workers.living().is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_may_take_longer_to_open_if_the_worker_lets_it_wait() {
    let workers = FakeWorkers::default();
    workers.lock().opening = waits(15, true);
    let bench = Bench::new(1, workers);
    bench.call().await.unwrap();
    assert_eq!(bench.starts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_start_is_no_worker() {
    for (manners, said) in [
        (Manners::OtherBuild, "is not build"),
        (Manners::Silent, "did not start within 5s"),
        (Manners::NotStarted, "cannot be started: out of memory"),
    ] {
        let workers = FakeWorkers::default();
        workers.lock().manners = manners;
        let bench = Bench::new(1, workers);
        let error = message(bench.call().await);
        assert!(error.contains(said), "{error}");
        sleep(seconds(2)).await;
        let ended = bench.starts() - bench.workers.living().len();
        assert!(ended > 0, "{manners:?}: what did not start is not left behind");
        bench.workers.lock().manners = Manners::Good;
        sleep(seconds(30)).await;
        bench.call().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_token_that_hangs_when_it_is_opened_is_tried_again_with_another_worker() {
    let workers = FakeWorkers::default();
    workers.lock().opening = Conduct::Hang;
    let bench = Bench::new(1, workers);
    assert!(message(bench.call().await).contains("did not answer within 60s when it was opened"));
    bench.workers.lock().opening = Conduct::Good;
    bench.call().await.unwrap();
    assert_eq!(bench.workers.lock().killed, [0]);
}
