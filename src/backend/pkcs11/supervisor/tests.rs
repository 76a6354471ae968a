//! The fate of calls when workers misbehave.

mod discovery;
mod opening;
mod turns;

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::sleep;

use super::*;
use crate::backend::pkcs11::supervisor::fake::Conduct;
use crate::backend::pkcs11::supervisor::fake::FakeWorkers;
use crate::backend::pkcs11::supervisor::fake::outage;
use crate::hardening::LockMemory;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::token::assignment::Role;
use crate::token::options::Pkcs11Options;
use crate::token::problem::Failure;

const MEMORY: u64 = 1000;

/// Workers and their supervisor.
struct Bench {
    workers: FakeWorkers,
    supervisor: Supervisor,
    metrics: Metrics,
}

impl Bench {
    fn new(sessions: u8, workers: FakeWorkers) -> Self {
        Self::of_role(Role::Daemon, sessions, workers)
    }

    fn of_role(role: Role, sessions: u8, workers: FakeWorkers) -> Self {
        let mut options = Pkcs11Options::new("/module.so".into(), "token".parse().unwrap());
        options.sessions = sessions;
        let assignment = Assignment {
            role,
            root_key: "test".parse().unwrap(),
            options,
            state: None,
            memory: MEMORY,
            lock_memory: LockMemory::Off,
        };
        let metrics = Metrics::new();
        let supervisor = Supervisor::with(workers.clone(), assignment, metrics.clone());
        Self {
            workers,
            supervisor,
            metrics,
        }
    }

    fn good(sessions: u8) -> Self {
        Self::new(sessions, FakeWorkers::default())
    }

    /// Workers that cannot open their token.
    fn failing(failure: Failure) -> Self {
        let workers = FakeWorkers::default();
        workers.lock().opening = Conduct::Fail(failure);
        Self::new(1, workers)
    }

    async fn call(&self) -> Result<Outcome, Error> {
        self.supervisor.call(find()).await
    }

    fn spawn(&self) -> JoinHandle<Result<Outcome, Error>> {
        let supervisor = self.supervisor.clone();
        tokio::spawn(async move { supervisor.call(find()).await })
    }

    /// A call for a caller with this timeout in seconds.
    fn spawn_for(&self, time: u64) -> JoinHandle<Result<Outcome, Error>> {
        let supervisor = self.supervisor.clone();
        tokio::spawn(async move {
            let (waiters, _waiter) = Waiters::of_caller(Instant::now() + seconds(time));
            supervisor.call_for(waiters, unwrap()).await
        })
    }

    fn starts(&self) -> usize {
        self.workers.lock().started.len()
    }

    /// The metric for a start of this reason.
    fn started_for(&self, reason: &str) -> bool {
        let line = format!("dekhand_worker_starts_total{{root_key=\"test\",reason=\"{reason}\"}}");
        self.metrics.page().contains(&line)
    }

    fn pin_rejected(&self) -> bool {
        self.metrics
            .page()
            .contains("dekhand_pin_rejected{root_key=\"test\"} 1")
    }
}

fn waits(time: u64, all: bool) -> Conduct {
    let time = seconds(time);
    Conduct::Wait { time, all }
}

fn unwrap() -> Call {
    Call::Unwrap {
        id: KeyId::random().unwrap(),
        wrapped: Wrapped {
            mechanism: Mechanism::AesKwp,
            bytes: vec![0; 40],
        },
    }
}

fn find() -> Call {
    Call::Find { expected: Vec::new() }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn message(result: Result<Outcome, Error>) -> String {
    let error = result.unwrap_err();
    assert_eq!(error.kind(), Kind::Outage, "{error}");
    error.chain()
}

#[tokio::test(start_paused = true)]
async fn a_worker_opens_its_token_before_anybody_calls() {
    let bench = Bench::good(1);
    sleep(seconds(1)).await;
    assert_eq!(bench.starts(), 1);
    bench.call().await.unwrap();
    assert_eq!(bench.starts(), 1);
    assert!(bench.started_for("start"));
}

#[tokio::test(start_paused = true)]
async fn as_many_calls_are_begun_as_there_are_sessions_and_their_time_counts_from_there() {
    let bench = Bench::good(4);
    bench.workers.script(vec![Conduct::Slow(seconds(8)); 16]);
    let begin = Instant::now();
    let calls: Vec<_> = (0..16).map(|_| bench.spawn()).collect();
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(bench.workers.lock().most_in_flight, 4);
    assert!(begin.elapsed() < seconds(33), "four at a time");
    assert_eq!(bench.starts(), 1, "nobody was too slow");
}

#[tokio::test(start_paused = true)]
async fn a_hung_call_costs_its_worker_and_no_other_call() {
    let bench = Bench::good(2);
    bench.workers.script([Conduct::Hang, Conduct::Slow(seconds(8))]);
    let hung = bench.spawn();
    sleep(seconds(5)).await;
    let other = bench.spawn();
    sleep(seconds(1)).await;
    let told = "the versions in the token cannot be listed: the token did not answer within 10s";
    assert_eq!(message(hung.await.unwrap()), told);
    other.await.unwrap().unwrap();
    assert_eq!(bench.workers.lock().killed, [0]);
    assert!(bench.started_for("hung"));
}

#[tokio::test(start_paused = true)]
async fn a_call_is_repeated_once_when_its_worker_dies() {
    let bench = Bench::good(1);
    bench.workers.script([Conduct::Die]);
    bench.call().await.unwrap();
    assert_eq!(bench.workers.lock().begun, [0, 1]);
    bench.workers.script([Conduct::Die, Conduct::Die]);
    assert!(message(bench.call().await).contains("has died"));
    assert_eq!(bench.starts(), 3);
    bench.call().await.unwrap();
    assert_eq!(bench.starts(), 4);
    assert!(bench.started_for("died"));
}

#[tokio::test(start_paused = true)]
async fn a_change_is_never_repeated() {
    let bench = Bench::good(1);
    bench.workers.script([Conduct::Die]);
    let generate = Call::Generate {
        number: Number::try_from(1).unwrap(),
        state: State::Pending,
    };
    assert!(message(bench.supervisor.call(generate).await).contains("check whether the change was made"));
    assert_eq!(bench.workers.lock().begun, [0]);
}

#[tokio::test(start_paused = true)]
async fn while_a_worker_waits_with_all_it_has_nothing_is_begun_and_nothing_is_late() {
    let bench = Bench::good(2);
    bench.workers.script([Conduct::Slow(seconds(25)), waits(20, true)]);
    let slow = bench.spawn();
    let waits = bench.spawn();
    sleep(seconds(1)).await;
    let later = bench.spawn();
    sleep(seconds(18)).await;
    assert!(!later.is_finished() && bench.workers.lock().begun.len() == 2);
    for call in [slow, waits, later] {
        call.await.unwrap().unwrap();
    }
    assert_eq!(bench.starts(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_would_begin_too_late_is_refused_at_once() {
    let bench = Bench::good(1);
    bench.workers.script(vec![Conduct::Slow(seconds(2)); 16]);
    bench.spawn_for(10).await.unwrap().unwrap();
    // One begins at once, one in 2 s. The next would begin after both and is refused, while another one has enough
    // time.
    let mut calls = Vec::new();
    for time in [3, 3, 2, 10] {
        calls.push((Instant::now(), bench.spawn_for(time)));
        sleep(Duration::from_millis(1)).await;
    }
    let (begin, refused) = calls.remove(2);
    assert_eq!(refused.await.unwrap().unwrap_err().kind(), Kind::Busy);
    assert!(begin.elapsed() < seconds(1));
    for (begin, call) in calls {
        call.await.unwrap().unwrap();
        assert!(begin.elapsed() < seconds(7));
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_says_that_its_wait_is_over_is_given_calls_at_once() {
    let bench = Bench::good(1);
    sleep(seconds(1)).await;
    bench.workers.script([Conduct::Hold {
        told: seconds(30),
        time: seconds(1),
    }]);
    let begin = Instant::now();
    bench.call().await.unwrap();
    bench.call().await.unwrap();
    assert!(begin.elapsed() < seconds(2), "{:?}", begin.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_asks_for_it_is_replaced_and_its_call_repeated_once() {
    let bench = Bench::good(1);
    let failure = Failure {
        ends_worker: true,
        ..outage("the session is lost")
    };
    bench.workers.script([Conduct::Fail(failure.clone())]);
    bench.call().await.unwrap();
    assert_eq!(bench.workers.lock().begun, [0, 1]);
    assert!(bench.started_for("asked"));
    bench
        .workers
        .script([Conduct::Fail(failure.clone()), Conduct::Fail(failure)]);
    assert_eq!(message(bench.call().await), "the session is lost");
    bench.call().await.unwrap();
    assert_eq!(bench.workers.lock().begun, [0, 1, 1, 2, 3]);
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_grows_is_replaced_while_it_serves() {
    let workers = FakeWorkers::default();
    workers.lock().growth = 60;
    let bench = Bench::new(2, workers);
    bench.workers.script([Conduct::Slow(seconds(9))]);
    let slow = bench.spawn();
    sleep(seconds(1)).await;
    // More than half of its memory limit.
    for _ in 0..8 {
        bench.call().await.unwrap();
    }
    sleep(seconds(1)).await;
    assert_eq!(bench.starts(), 2);
    assert_eq!(bench.workers.living().len(), 2);
    bench.call().await.unwrap();
    assert_eq!(
        bench.workers.lock().begun.last(),
        Some(&1),
        "new calls go to the new worker"
    );
    slow.await.unwrap().unwrap();
    sleep(seconds(11)).await;
    assert_eq!(bench.workers.living(), [1]);
    assert!(
        bench.workers.lock().killed.is_empty(),
        "its channel was closed, and it left"
    );
    assert!(bench.started_for("memory"));
}

#[tokio::test(start_paused = true)]
async fn a_successor_that_fails_leaves_the_old_worker_serving() {
    let workers = FakeWorkers::default();
    workers.lock().growth = 600;
    let bench = Bench::new(1, workers);
    sleep(seconds(1)).await;
    bench.workers.lock().opening = Conduct::Fail(outage("no more sessions"));
    for _ in 0..1000 {
        bench.call().await.unwrap();
        sleep(Duration::from_millis(100)).await;
    }
    let attempts = bench.starts();
    assert!((2..30).contains(&attempts), "tried with patience: {attempts}");
    assert!(bench.workers.lock().begun.iter().all(|worker| *worker == 0));
}

#[tokio::test(start_paused = true)]
async fn a_module_that_is_large_from_the_beginning_is_left_in_peace() {
    let workers = FakeWorkers::default();
    workers.lock().memory = 600;
    let bench = Bench::new(1, workers);
    for _ in 0..100 {
        bench.call().await.unwrap();
    }
    assert_eq!(bench.starts(), 1);
}

#[tokio::test(start_paused = true)]
async fn calls_of_callers_who_went_away_are_not_begun() {
    let bench = Bench::good(1);
    bench.workers.script([Conduct::Slow(seconds(5))]);
    let first = bench.spawn();
    sleep(seconds(1)).await;
    let gone: Vec<_> = (0..10).map(|_| bench.spawn()).collect();
    sleep(seconds(1)).await;
    gone.iter().for_each(JoinHandle::abort);
    first.await.unwrap().unwrap();
    bench.call().await.unwrap();
    assert_eq!(bench.workers.lock().begun.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_cannot_wait_is_answered_at_once() {
    let bench = Bench::good(1);
    bench.workers.script([Conduct::Hang]);
    let calls: Vec<_> = (0..3000).map(|_| bench.spawn_for(60)).collect();
    sleep(seconds(1)).await;
    let refused = calls.iter().filter(|call| call.is_finished()).count();
    assert!((1900..2000).contains(&refused), "{refused}");
    let refused = calls.into_iter().find(JoinHandle::is_finished).unwrap();
    let error = refused.await.unwrap().unwrap_err();
    assert_eq!(error.kind(), Kind::Busy, "says nothing of the token");
    assert!(error.chain().contains("1024 calls already wait"));
}

#[tokio::test(start_paused = true)]
async fn hundred_hung_workers_leave_one_living() {
    let bench = Bench::good(1);
    for _ in 0..100 {
        bench.workers.script([Conduct::Hang]);
        bench.call().await.unwrap_err();
    }
    bench.call().await.unwrap();
    assert_eq!(bench.workers.living().len(), 1);
    assert_eq!(bench.workers.lock().killed.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn the_last_caller_lets_the_worker_go() {
    let Bench {
        workers, supervisor, ..
    } = Bench::good(1);
    supervisor.call(find()).await.unwrap();
    drop(supervisor);
    sleep(seconds(1)).await;
    assert!(workers.living().is_empty());
    assert!(workers.lock().killed.is_empty());
}
