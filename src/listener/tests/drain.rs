//! The end of a listener: requests in flight are finished, within the limit.

use tokio::io::AsyncReadExt as _;

use super::*;

#[tokio::test]
async fn requests_in_flight_are_answered_and_newcomers_refused() {
    let mut daemon = Daemon::start();
    let client = daemon.client().await;
    let call = tokio::spawn({
        let client = client.clone();
        async move { encrypt(&client, b"wait").await }
    });
    daemon.until_waiting(1).await;
    let mut silent = daemon.connect().await;
    assert!(daemon.claim.verdict().is_ok());
    daemon.stop();
    assert_eq!(
        silent.read(&mut [0; 1]).await.unwrap_or(0),
        0,
        "who sent nothing is closed"
    );
    assert!(daemon.claim.verdict().is_err());
    assert!(
        UnixStream::connect(daemon.directory.path().join("kms.sock"))
            .await
            .is_err()
    );
    assert!(!daemon.task.is_finished());
    daemon.service.go_on.notify_waiters();
    assert_eq!(call.await.unwrap().unwrap(), b"wait");
    tokio::time::timeout(HANG, daemon.task).await.unwrap().unwrap().unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_within_5_s_whatever_callers_do() {
    let mut daemon = Daemon::start();
    let client = daemon.client().await;
    let call = tokio::spawn(async move { encrypt(&client, b"wait").await });
    daemon.until_waiting(1).await;
    let mut stopped = daemon.connect().await;
    wire::greet(&mut stopped).await;
    until(|| daemon.metrics.connections.get() == 2).await;
    let begin = tokio::time::Instant::now();
    daemon.stop();
    daemon.task.await.unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(call.await.unwrap().is_err());
}

#[tokio::test(start_paused = true)]
async fn a_drain_ends_when_the_calls_in_flight_are_answered_whatever_their_callers_do() {
    let mut daemon = Daemon::start();
    // They go on calling. The pause lets the paused clock advance.
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let client = daemon.client().await;
        callers.spawn(async move {
            while encrypt(&client, b"payload").await.is_ok() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        });
    }
    // Has called, and neither reads nor closes any more.
    let mut frozen = daemon.connect().await;
    wire::greet(&mut frozen).await;
    wire::ping(&mut frozen).await;
    until(|| daemon.answered("Encrypt", "OK") > 100).await;
    let begin = tokio::time::Instant::now();
    daemon.stop();
    daemon.task.await.unwrap().unwrap();
    assert!(begin.elapsed() < Duration::from_millis(500), "{:?}", begin.elapsed());
    callers.join_all().await;
}

#[tokio::test]
async fn a_successor_starts_when_the_drain_is_over_and_not_before() {
    let mut daemon = Daemon::start();
    let client = daemon.client().await;
    let call = tokio::spawn(async move { encrypt(&client, b"wait").await });
    daemon.until_waiting(1).await;
    daemon.stop();
    until(|| daemon.claim.verdict().is_err()).await;
    let options = ListenerOptions::at(
        daemon
            .directory
            .path()
            .join("kms.sock")
            .to_str()
            .unwrap()
            .parse()
            .unwrap(),
    );
    let error = Listener::open(&options, "successor", None, Metrics::new()).unwrap_err();
    assert!(
        error.is_in_use() && error.to_string().contains("daemon test"),
        "{error}"
    );
    daemon.service.go_on.notify_waiters();
    call.await.unwrap().unwrap();
    daemon.task.await.unwrap().unwrap();
    Listener::open(&options, "successor", None, Metrics::new()).unwrap();
}
