//! A configuration that changes, breaks and is repaired while a daemon runs.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering;

use rustix::process::Signal;

use support::daemon::Caller;
use support::daemon::HANG;
use support::daemon::dekhand;
use support::daemon::wait_for;
use support::keyring_node::Node;

#[tokio::test]
async fn a_changed_file_is_taken_over_without_dropping_a_request_and_a_broken_one_is_refused() {
    let node = Node::new();
    let daemon = node.start();
    let mut caller = Caller::connect(&node.socket()).await;
    node.configure("log: {requests: true}\ndata_keys: {suite: a256cbc-hs512}", true);
    daemon.signal(Signal::HUP);
    let suite_2 = async |caller: &mut Caller| caller.encrypt(b"a seed").await.unwrap().ciphertext[1] == 2;
    for attempt in 0.. {
        if suite_2(&mut caller).await {
            break;
        }
        assert!(attempt < 1000, "the new suite never came");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    node.configure("log: {requets: true}", true);
    daemon.signal(Signal::HUP);
    for _ in 0..100 {
        assert!(suite_2(&mut caller).await, "the old configuration stays");
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    drop(caller);
    let (_, log) = daemon.stop();
    assert!(
        log.contains("requets") && log.contains("requests"),
        "the key and the nearest known one: {log}"
    );

    let daemon = node.start();
    let (_, log) = daemon.stop();
    assert!(log.contains("last good copy"), "{log}");
}

/// Waits until payloads are sealed by this suite.
async fn until_suite(caller: &mut Caller, suite: u8) {
    let begin = std::time::Instant::now();
    while caller.encrypt(b"a seed").await.unwrap().ciphertext[1] != suite {
        assert!(begin.elapsed() < HANG, "suite {suite} never came");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_changed_file_is_taken_over_without_a_signal() {
    let node = Node::new();
    let daemon = node.start();
    let mut caller = Caller::connect(&node.socket()).await;
    until_suite(&mut caller, 1).await;
    node.configure("data_keys: {suite: a256cbc-hs512}", true);
    until_suite(&mut caller, 2).await;
    drop(caller);
    let (_, log) = daemon.stop();
    assert!(!log.contains("SIGHUP"), "{log}");
}

#[tokio::test]
async fn reloads_fail_no_request_of_eight_callers() {
    let node = Node::new();
    let daemon = node.start();
    let over = Arc::new(AtomicBool::new(false));
    let mut callers = tokio::task::JoinSet::new();
    let last_seen: Arc<[AtomicU8; 8]> = Arc::default();
    for number in 0..8 {
        let mut caller = Caller::connect(&node.socket()).await;
        let (over, last_seen) = (over.clone(), last_seen.clone());
        callers.spawn(async move {
            let mut suites = vec![];
            while !over.load(Ordering::Relaxed) {
                caller.status().await.unwrap();
                let sealed = caller.encrypt(b"a seed").await.unwrap();
                assert_eq!(caller.decrypt(&sealed).await.unwrap(), b"a seed");
                suites.push(sealed.ciphertext[1]);
                last_seen[number].store(sealed.ciphertext[1], Ordering::Relaxed);
            }
            suites.dedup();
            suites
        });
    }
    let until_all_saw = async |suite| {
        let begin = std::time::Instant::now();
        while last_seen.iter().any(|last| last.load(Ordering::Relaxed) != suite) {
            assert!(begin.elapsed() < HANG, "suite {suite} never came");
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    until_all_saw(1).await;
    for (lines, suite) in [
        ("data_keys: {suite: a256cbc-hs512}\nlog: {level: debug}", 2),
        ("data_keys: {suite: aes-256-gcm}\nlog: {level: warn}", 1),
        ("data_keys: {suite: a256cbc-hs512}\nlog: {level: info}", 2),
    ] {
        node.configure(lines, true);
        daemon.signal(Signal::HUP);
        until_all_saw(suite).await;
    }
    over.store(true, Ordering::Relaxed);
    for suites in callers.join_all().await {
        assert_eq!(
            suites,
            [1, 2, 1, 2],
            "they called before, between and after the reloads"
        );
    }
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_broken_file_without_a_good_copy_is_exit_3_with_its_place() {
    let node = Node::new();
    node.configure("proble: {interval: 60s}", true);
    for command in [["config", "check"], ["serve", "--config"]] {
        let output = dekhand(&[command[0], command[1], &node.config()]);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3), "{message}");
        assert!(message.contains("proble") && message.contains("`probe`"), "{message}");
        assert!(message.contains("config.yaml:9"), "file and line: {message}");
    }
}

#[test]
fn a_keyring_that_is_gone_is_said_and_found_again() {
    let node = Node::new();
    let hidden = node.path("hidden.json");
    std::fs::rename(node.path("keyring.json"), &hidden).unwrap();
    let daemon = node.spawn();
    wait_for("the socket is served without a keyring", || {
        node.status().status.code() == Some(1)
    });
    std::fs::rename(&hidden, node.path("keyring.json")).unwrap();
    wait_for("it heals by itself", || node.status().status.success());
    let (_, log) = daemon.stop();
    assert!(log.contains("keyring.json"), "{log}");
}
