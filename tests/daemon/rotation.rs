//! Rotation as operators do it: with one shared store in one step, with copies of a file in three.

use std::time::Instant;

use rustix::process::Signal;
use tokio::time::Duration;
use tokio::time::sleep;

use support::daemon::Caller;
use support::daemon::Daemon;
use support::daemon::dekhand;
use support::keyring_node::Node;

/// Status and Encrypt of every node until all report `key_id`; every payload sealed on the way opens on every node.
async fn until_all_report(key_id: &str, callers: &mut [Caller]) {
    let mut seen: Vec<Vec<String>> = vec![Vec::new(); callers.len()];
    for _ in 0..1200 {
        let mut sealed = Vec::new();
        for (caller, seen) in callers.iter_mut().zip(&mut seen) {
            let status = caller.status().await.unwrap();
            sealed.push(caller.encrypt(b"a seed").await.unwrap());
            seen.push(status.key_id);
        }
        for sealed in &sealed {
            for caller in callers.iter_mut() {
                assert_eq!(caller.decrypt(sealed).await.unwrap(), b"a seed", "no read fails");
            }
        }
        if sealed.iter().all(|sealed| sealed.key_id == key_id) {
            for mut seen in seen {
                seen.dedup();
                assert!(seen.len() <= 2, "one switch and never back: {seen:?}");
            }
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("the nodes never all reported {key_id}: {seen:?}");
}

fn id_of(version: &str, node: &Node) -> String {
    let listed = node.keys(&["list"]);
    let versions = listed["root_keys"][0]["versions"].as_array().unwrap().clone();
    let found = versions.iter().find(|listed| listed["version"] == version).unwrap();
    found["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn with_a_shared_store_one_step_rotates_every_daemon_without_a_failed_read() {
    let one = Node::with("probe: {interval: 1s}", true);
    let keyring = one.path("keyring.json");
    let others = [Node::new(), Node::new()];
    for other in &others {
        std::fs::remove_file(other.path("keyring.json")).unwrap();
        other.configure("probe: {interval: 1s}", true);
        let text = std::fs::read_to_string(other.config()).unwrap();
        let own = other.path("keyring.json").display().to_string();
        std::fs::write(other.config(), text.replace(&own, &keyring.display().to_string())).unwrap();
    }
    let nodes = [&one, &others[0], &others[1]];
    let _daemons: Vec<Daemon> = nodes.iter().map(|node| node.start()).collect();
    let mut callers = Vec::new();
    for node in nodes {
        callers.push(Caller::connect(&node.socket()).await);
    }
    one.keys(&["rotate", "--activate-in", "3s"]);
    until_all_report(&id_of("v2", &one), &mut callers).await;
}

#[tokio::test]
async fn copies_of_a_file_rotate_in_three_steps_without_a_failed_read() {
    let nodes = [0, 1, 2].map(|_| Node::with("probe: {interval: 1s}", false));
    let copy_to_others = |name: &str| {
        for other in &nodes[1..] {
            let beside = other.path("copy");
            std::fs::copy(nodes[0].path(name), &beside).unwrap();
            std::fs::rename(beside, other.path(name)).unwrap();
        }
    };
    copy_to_others("keyring.json");
    let daemons: Vec<Daemon> = nodes.iter().map(Node::start).collect();
    let mut callers = Vec::new();
    for node in &nodes {
        callers.push(Caller::connect(&node.socket()).await);
    }

    // In one step it is refused: the other nodes may not have the version yet.
    let config = nodes[0].config();
    let refused = dekhand(&["keys", "rotate", "--activate-in", "3s", "--config", &config]);
    assert_eq!(refused.status.code(), Some(5));
    // 1: a pending version, copied to every node.
    nodes[0].keys(&["rotate"]);
    let record = dekhand(&["keys", "verify", "--record", "--config", &config]);
    assert!(record.status.success());
    std::fs::write(nodes[0].path("record"), &record.stdout).unwrap();
    let record = nodes[0].path("record").display().to_string();
    let verify = |node: &Node| dekhand(&["keys", "verify", "--against", &record, "--config", &node.config()]);
    assert!(!verify(&nodes[1]).status.success(), "it has not been copied yet");
    copy_to_others("keyring.json");
    // 2: proven equal everywhere.
    let begin = Instant::now();
    for node in &nodes {
        let verified = verify(node);
        assert!(
            verified.status.success(),
            "{}",
            String::from_utf8_lossy(&verified.stderr)
        );
    }
    // 3: one date for all nodes, late enough to run the command on each of them.
    let lead = Duration::from_secs(4) + 4 * begin.elapsed();
    let at = humantime::format_rfc3339_seconds(std::time::SystemTime::now() + lead).to_string();
    for node in &nodes {
        node.keys(&["activate", "--at", &at]);
    }
    until_all_report(&id_of("v2", &nodes[2]), &mut callers).await;
    drop(daemons);
}

#[tokio::test]
async fn retiring_shows_in_a_running_daemon_and_restoring_takes_it_back() {
    let node = Node::with("probe: {interval: 1s}", true);
    let daemon = node.start();
    let mut caller = Caller::connect(&node.socket()).await;
    let old = caller.encrypt(b"a seed").await.unwrap();
    node.keys(&["rotate", "--activate-in", "1s"]);
    until_all_report(&id_of("v2", &node), std::slice::from_mut(&mut caller)).await;
    let config = node.config();
    let refused = dekhand(&["keys", "retire", "v1", "--config", &config]);
    assert_eq!(
        refused.status.code(),
        Some(5),
        "until the audit exists it demands --unaudited"
    );
    let refused = dekhand(&["keys", "retire", "v1", "--unaudited", "--config", &config]);
    assert_eq!(refused.status.code(), Some(5), "it was primary within the last hour");
    let refused = dekhand(&["keys", "retire", "v2", "--unaudited", "--config", &config]);
    assert_eq!(refused.status.code(), Some(5), "it is the primary");
    assert_eq!(caller.decrypt(&old).await.unwrap(), b"a seed");
    daemon.signal(Signal::TERM);
}
