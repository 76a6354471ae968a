//! A configuration that changes, breaks, and is mended under a running daemon.

use rustix::process::Signal;

use crate::run::Caller;
use crate::run::Node;
use crate::run::dekhand;
use crate::run::wait_for;

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
