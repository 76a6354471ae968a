//! Abuses that need a daemon of another kind: with few descriptors, or open to every uid.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Instant;

use rustix::process::Uid;
use serde_json::Value;

use crate::footprint::Footprint;
use crate::scene::Dev;
use crate::scene::Held;
use crate::scene::Scene;
use crate::scene::alone;
use crate::scene::happen;
use crate::strangers;
use crate::table::Table;
use crate::wire::Hostile;
use support::daemon::Daemon;
use support::daemon::wait_for;
use support::keyring_node::Node;

/// A daemon has 14 of them when nobody calls: far fewer remain than it has places for connections.
const DESCRIPTORS: u32 = 32;
/// Connections of another uid.
const STRANGERS: usize = 2000;
/// Nobody's, wherever this runs.
const STRANGER: u32 = 61_234;

#[test]
fn without_descriptors_those_who_behave_are_served_and_newcomers_get_those_of_who_has_the_most() {
    let _alone = alone();
    let dev = Dev::start_with_descriptors(DESCRIPTORS);
    let scene = Scene::new(dev.socket());
    let first = Footprint::of(&dev.daemon);
    let mut table = Table::begin();
    table.line(
        "32 descriptors, 500 connections, silent",
        happen(&dev.daemon, &scene, &first, strangers::silent),
    );
    table.line(
        "32 descriptors, 100 that called once",
        happen(&dev.daemon, &scene, &first, strangers::called_once),
    );
    table.end();
}

#[test]
fn another_uid_is_refused_and_counted_with_a_line_a_second_at_most() {
    let _alone = alone();
    assert!(
        rustix::process::geteuid().is_root(),
        "only root can be another uid: run these tests as root"
    );
    let node = Node::new();
    let path = node.socket();
    std::fs::set_permissions(node.directory.path(), Permissions::from_mode(0o755)).unwrap();
    let config = std::fs::read_to_string(node.config()).unwrap();
    let config = config.replace("kms.sock}", "kms.sock, mode: \"0666\"}");
    std::fs::write(node.config(), config).unwrap();
    let config = node.config();
    let http = ["--http", "127.0.0.1:0", "--log-format", "json"];
    let daemon = Daemon::spawn(&[&["serve", "--config", &config], &http[..]].concat());
    wait_for("status is content", || node.status().status.success());
    let scene = Scene::new(path);
    let first = Footprint::of(&daemon);
    let mut table = Table::begin();
    let begin = Instant::now();
    let outcome = happen(&daemon, &scene, &first, |scene| {
        std::thread::scope(|threads| threads.spawn(|| as_a_stranger(scene)).join().unwrap())
    });
    let seconds = begin.elapsed().as_secs();
    table.line("2,000 connections of another uid", outcome);
    table.end();

    let log = daemon.log();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of = |words: &str| -> Vec<&Value> {
        let says = |line: &&Value| line["message"].as_str().unwrap().contains(words);
        lines.iter().filter(says).collect()
    };
    let refused = of("its uid is not in");
    assert!(
        !refused.is_empty() && refused.len() as u64 <= seconds + 1,
        "{refused:?}"
    );
    assert!(refused.iter().all(|line| line["uid"] == STRANGER), "{refused:?}");
    let served = of("health and metrics are served");
    let metrics = page(served[0]["address"].as_str().unwrap(), "/metrics");
    let counted = format!("dekhand_refused_peers_total {STRANGERS}\n");
    assert!(metrics.contains(&counted), "{metrics}");
}

/// Connects under another uid, which only this thread has, and speaks HTTP/2 to the end.
fn as_a_stranger(scene: &Scene) -> Held {
    let uid = Uid::from_raw(STRANGER);
    rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
    for _ in 0..STRANGERS {
        let connection = Hostile::greet(&scene.socket);
        assert!(!connection.settle(), "it is not served");
    }
    vec![]
}

fn page(address: &str, path: &str) -> String {
    use std::io::Read as _;
    use std::io::Write as _;
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
