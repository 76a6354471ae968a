//! Calls that take long, such as a discovery among thousands of keys.

use tokio::time::timeout;

use super::*;
use crate::backend::pkcs11::Pkcs11;
use crate::root_key::RootKey as _;

#[tokio::test(start_paused = true)]
async fn a_call_that_the_worker_lets_wait_keeps_no_other_from_beginning() {
    let bench = Bench::good(1);
    bench.workers.script([waits(30, false)]);
    let waits = bench.spawn();
    sleep(seconds(1)).await;
    let begin = Instant::now();
    bench.call().await.unwrap();
    assert!(begin.elapsed() < seconds(1));
    waits.await.unwrap().unwrap();
    assert_eq!(bench.starts(), 1, "its time has begun behind the wait");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_goes_on_and_says_so_has_not_hung_and_one_that_stops_to_say_so_has() {
    let bench = Bench::good(1);
    bench.workers.script([Conduct::Signs {
        every: seconds(9),
        times: 10,
    }]);
    bench.call().await.unwrap();
    assert_eq!(bench.starts(), 1, "90 s are many times 10 s");
    bench.workers.script([Conduct::Signs {
        every: seconds(11),
        times: 10,
    }]);
    assert!(message(bench.call().await).contains("did not answer within 10s"));
    assert_eq!(bench.workers.lock().killed, [0]);
}

#[tokio::test(start_paused = true)]
async fn a_discovery_goes_on_for_the_next_who_asks_when_who_asked_has_given_up() {
    let Bench {
        workers, supervisor, ..
    } = Bench::good(1);
    workers.script([Conduct::Signs {
        every: seconds(9),
        times: 10,
    }]);
    let root_key = Pkcs11::with(supervisor);
    for _ in 0..3 {
        assert!(timeout(seconds(29), root_key.discover()).await.is_err());
    }
    root_key.discover().await.unwrap();
    assert_eq!(workers.lock().begun.len(), 1);
    root_key.discover().await.unwrap();
    assert_eq!(workers.lock().begun.len(), 2);
}
