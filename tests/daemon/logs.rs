//! Log lines: what they contain, what they never contain, and that no request waits for them.

use support::daemon::Caller;
use support::daemon::Daemon;
use support::daemon::wait_for;
use support::keyring_node::Node;

#[tokio::test]
async fn calls_go_on_while_nobody_reads_stderr() {
    let node = Node::with("log: {requests: true, format: json}", true);
    let (daemon, unread) = Daemon::spawn_unread(&["serve", "--config", &node.config()]);
    wait_for("status is content", || node.status().status.success());
    let mut caller = Caller::connect(&node.socket()).await;
    // A pipe holds 64 KiB and the queue 4,096 lines: this is far more than both.
    for _ in 0..5_000 {
        let sealed = caller.encrypt(b"a seed").await.unwrap();
        assert_eq!(caller.decrypt(&sealed).await.unwrap(), b"a seed");
    }
    drop(caller);
    assert_eq!(daemon.stop().0, Some(0), "and it ends, too");
    drop(unread);
}

#[tokio::test]
async fn a_request_line_has_uid_key_id_and_sizes_and_no_secret_is_ever_logged() {
    let node = Node::with("log: {requests: true, level: debug}", true);
    let daemon = node.start();
    let mut caller = Caller::connect(&node.socket()).await;
    let seed = b"5ecre7-seed-0f-the-AP1-server!!!";
    let mut sealed = caller.encrypt(seed).await.unwrap();
    caller.decrypt(&sealed).await.unwrap();
    *sealed.ciphertext.last_mut().unwrap() ^= 1;
    let refused = caller.decrypt(&sealed).await.unwrap_err();
    assert_eq!(refused.code(), tonic::Code::InvalidArgument);
    drop(caller);
    let (_, log) = daemon.stop();
    let lines: Vec<serde_json::Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_ours = |line: &&serde_json::Value| line["method"] == "Encrypt" && line["uid"] == "test";
    let request = lines.iter().find(is_ours).unwrap();
    assert_eq!(request["key_id"], sealed.key_id.as_str(), "{request}");

    let keyring = std::fs::read_to_string(node.path("keyring.json")).unwrap();
    let keyring: serde_json::Value = serde_json::from_str(&keyring).unwrap();
    let key = keyring["versions"][0]["key"].as_str().unwrap();
    assert_eq!(key.len(), 64);
    let seed_hex = hex::encode(seed);
    for secret in [key, std::str::from_utf8(seed).unwrap(), &seed_hex] {
        assert!(!log.contains(secret));
    }
}
