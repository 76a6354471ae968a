//! Storms of calls to the token, and their effect on other callers.

use super::*;
use crate::caller::Caller;
use crate::caller::ConnectionId;

impl Bench {
    /// A call from the connection of this number, with this timeout in seconds.
    fn spawn_from(&self, connection: u64, time: u64) -> JoinHandle<Result<Outcome, Error>> {
        let supervisor = self.supervisor.clone();
        tokio::spawn(async move {
            let (waiters, _waiter) = Waiters::of_caller(Caller {
                deadline: Instant::now() + seconds(time),
                connection: Some(ConnectionId(connection)),
            });
            supervisor.call_for(waiters, unwrap()).await
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_one_connection_neither_refuses_nor_delays_the_calls_of_another() {
    let bench = Bench::good(1);
    // As slow as a TPM.
    bench
        .workers
        .script(vec![Conduct::Slow(Duration::from_millis(7)); 10_000]);
    bench.spawn_from(1, 60).await.unwrap().unwrap();
    let storm: Vec<_> = (0..1000).map(|_| bench.spawn_from(1, 60)).collect();
    sleep(Duration::from_millis(1)).await;
    for _ in 0..10 {
        let begin = Instant::now();
        bench.spawn_from(2, 3).await.unwrap().unwrap();
        assert!(begin.elapsed() < Duration::from_millis(50), "{:?}", begin.elapsed());
    }
    let late = bench.spawn_from(1, 3).await.unwrap().unwrap_err();
    assert_eq!(late.kind(), Kind::Busy, "{late}");
    for call in storm {
        call.await.unwrap().unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn the_daemons_own_calls_wait_for_no_caller() {
    let bench = Bench::good(1);
    bench.workers.script(vec![Conduct::Slow(seconds(1)); 16]);
    let callers: Vec<_> = (0..10).map(|_| bench.spawn_for(60)).collect();
    sleep(Duration::from_millis(1)).await;
    let begin = Instant::now();
    bench.call().await.unwrap();
    assert!(begin.elapsed() <= seconds(2), "behind the one that was begun");
    for call in callers {
        call.await.unwrap().unwrap();
    }
}
