//! A module that leaks memory: its worker is replaced while it still works, or ends alone.

use rustix::process::Signal;

use support::calls::Kms;
use support::calls::stock;
use support::calls::until;
use support::calls::until_proofs_are_made;
use support::processes::lives;
use support::processes::send;
use support::processes::worker;
use support::token_node::Node;
use support::token_node::Settings;

const SMALL: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 5s", "open_timeout: 5s"],
    lines: &["probe: {interval: 1h}", "worker: {memory: 64MiB}"],
};

#[tokio::test]
async fn a_worker_that_has_half_of_its_memory_has_a_successor_before_it_ends_and_no_request_fails() {
    let node = Node::with(SMALL);
    let stock = stock(&node, SMALL, 40).await;
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    until_proofs_are_made(&node).await;
    for round in stock.chunks(20) {
        let before = worker(&daemon);
        node.token.set("C_Decrypt leak 30MiB times 1");
        for sealed in round {
            kms.decrypt(sealed).await.unwrap();
            kms.encrypt().await.unwrap();
            kms.status().await.unwrap();
        }
        until("the first worker has gone", || !lives(before)).await;
    }
    let log = daemon.log();
    assert_eq!(log.matches("another token worker has taken over").count(), 2, "{log}");
    assert!(
        !log.contains("the token worker is lost"),
        "nobody had to do without: {log}"
    );
    assert_eq!(daemon.stop().0, Some(0));
}

#[tokio::test]
async fn a_worker_that_grows_too_fast_meets_its_limit_alone() {
    let node = Node::with(SMALL);
    let stock = stock(&node, SMALL, 3).await;
    let daemon = node.start();
    let first = worker(&daemon);
    let limits = std::fs::read_to_string(format!("/proc/{first}/limits")).unwrap();
    let data = limits.lines().find(|line| line.starts_with("Max data size")).unwrap();
    assert!(data.contains("67108864"), "{data}");
    let kms = Kms::connect(&node.socket()).await;
    let key_id = kms.status().await.unwrap();

    // There is not that much memory: the module reports that, and its process ends.
    node.token.set("C_Decrypt leak 100MiB");
    kms.decrypt(&stock[0]).await.unwrap_err();
    until("the worker has ended", || !lives(first)).await;
    kms.encrypt().await.unwrap_err();
    node.token.set("");
    kms.until_open(&stock[0]).await;
    assert_eq!(kms.status().await.unwrap(), key_id);

    // Killed for it, as by the kernel's OOM killer: one request waits for the next worker.
    let second = worker(&daemon);
    send(second, Signal::KILL);
    kms.decrypt(&stock[1]).await.unwrap();
    assert_eq!(kms.status().await.unwrap(), key_id);
}
