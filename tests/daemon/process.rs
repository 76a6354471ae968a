//! Start, stop, kill, and two daemons with the same socket or state directory.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use rustix::process::Signal;

use crate::unfinished::begin_encrypt;
use support::daemon::Caller;
use support::daemon::Daemon;
use support::daemon::dekhand;
use support::daemon::page;
use support::daemon::wait_for;
use support::keyring_node::Node;
use support::pulse::Stopwatch;

#[test]
fn serve_dev_makes_what_it_needs_and_says_what_to_type_next() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("dekhand");
    let home = home.to_str().unwrap();
    let daemon = Daemon::spawn(&["serve", "--dev", "--dir", home, "--http", "off", "--log-format", "text"]);
    wait_for("status is content", || {
        dekhand(&["status", "--dev", "--dir", home]).status.success()
    });
    let mode = std::fs::metadata(home).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0));
    for promised in [
        "for trying out",
        "dekhand status",
        "kind: EncryptionConfiguration",
        &format!("unix://{home}/kms.sock"),
    ] {
        assert!(log.contains(promised), "{promised} in {log}");
    }
    let before = std::fs::read(format!("{home}/keyring.json")).unwrap();
    let daemon = Daemon::spawn(&["serve", "--dev", "--dir", home, "--http", "off"]);
    wait_for("status is content", || {
        dekhand(&["status", "--dev", "--dir", home]).status.success()
    });
    drop(daemon);
    assert_eq!(
        std::fs::read(format!("{home}/keyring.json")).unwrap(),
        before,
        "an existing keyring is not touched"
    );
}

#[test]
fn sigterm_drains_unlinks_and_ends_and_a_restart_reads_what_was_sealed() {
    let node = Node::new();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let daemon = node.start();
    let sealed = runtime.block_on(async { Caller::connect(&node.socket()).await.encrypt(b"a seed").await.unwrap() });
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    assert!(!node.socket().exists());
    let _daemon = node.start();
    let opened = runtime.block_on(async { Caller::connect(&node.socket()).await.decrypt(&sealed).await.unwrap() });
    assert_eq!(opened, b"a seed");
}

#[test]
fn a_connection_that_stays_open_does_not_keep_the_daemon() {
    let node = Node::new();
    let daemon = node.start();
    let _silent = std::os::unix::net::UnixStream::connect(node.socket()).unwrap();
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_second_signal_ends_it_at_once_whatever_is_in_flight() {
    let node = Node::new();
    let daemon = node.start();
    let _unfinished = begin_encrypt(&node.socket());
    let stopwatch = Stopwatch::start();
    daemon.signal(Signal::TERM);
    wait_for("the drain has begun", || !node.socket().exists());
    daemon.signal(Signal::INT);
    let (code, log) = daemon.wait();
    let took = stopwatch.took();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("second signal"), "{log}");
    // The drain would take 3 s.
    assert!(took < Duration::from_millis(2500), "{took:?}");
}

#[tokio::test]
async fn one_signal_ends_it_within_5_s_though_a_request_never_ends_and_nobody_reads_its_log() {
    let node = Node::with("log: {requests: true, format: json}", true);
    let (daemon, unread) = Daemon::spawn_unread(&["serve", "--config", &node.config()]);
    wait_for("status is content", || node.status().status.success());
    let mut caller = Caller::connect(&node.socket()).await;
    // Each call logs a line of more than 100 bytes, so the pipe of 64 KiB is full.
    for _ in 0..1000 {
        caller.encrypt(b"a seed").await.unwrap();
    }
    let _unfinished = begin_encrypt(&node.socket());
    let stopwatch = Stopwatch::start();
    let (code, _) = daemon.stop();
    let took = stopwatch.took();
    assert_eq!(code, Some(0));
    assert!(took < Duration::from_secs(5), "{took:?}");
    drop((caller, unread));
}

#[test]
fn a_leftover_socket_is_replaced() {
    let node = Node::new();
    let mut daemon = node.start();
    daemon.child.kill().unwrap();
    daemon.child.wait().unwrap();
    assert!(node.socket().exists(), "SIGKILL leaves it");
    let _daemon = node.start();
}

#[test]
fn a_live_daemon_is_respected() {
    let node = Node::new();
    let daemon = node.start();
    let second = dekhand(&["serve", "--config", &node.config()]);
    let message = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(5), "{message}");
    let other = Node::new();
    let socket = node.socket();
    let third = dekhand(&[
        "serve",
        "--config",
        &other.config(),
        "--socket",
        socket.to_str().unwrap(),
    ]);
    let message = String::from_utf8_lossy(&third.stderr);
    assert_eq!(third.status.code(), Some(5), "{message}");
    assert!(
        message.contains(&daemon.child.id().to_string()),
        "names who serves it: {message}"
    );
    assert!(node.status().status.success());
}

#[test]
fn a_directory_that_others_can_write_to_is_refused() {
    let node = Node::new();
    std::fs::set_permissions(node.directory.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    let refused = dekhand(&["serve", "--config", &node.config()]);
    let message = String::from_utf8_lossy(&refused.stderr);
    assert!(!refused.status.success() && message.contains("chmod"), "{message}");
}

#[test]
fn status_without_a_daemon_says_so() {
    let node = Node::new();
    let output = node.status();
    assert_eq!(output.status.code(), Some(4));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint:"));
}

#[test]
fn the_daemon_gave_up_core_files_and_new_privileges_and_runs_under_a_filter() {
    let node = Node::new();
    let daemon = node.start();
    let of = |file: &str| std::fs::read_to_string(format!("/proc/{}/{file}", daemon.child.id())).unwrap();
    let status = of("status");
    assert!(
        status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"),
        "{status}"
    );
    let cores = of("limits")
        .lines()
        .find(|line| line.starts_with("Max core file size"))
        .unwrap()
        .to_owned();
    assert!(cores.split_whitespace().nth(4) == Some("0"), "{cores}");
}

#[test]
fn an_abstract_socket_serves_too() {
    let node = Node::new();
    let name = format!("@dekhand-test-{}", std::process::id());
    let daemon = Daemon::spawn(&["serve", "--config", &node.config(), "--socket", &name]);
    wait_for("status is content", || {
        dekhand(&["status", "--socket", &name]).status.success()
    });
    assert_eq!(daemon.stop().0, Some(0));
}

/// The TCP ports on which a process listens, from the kernel; `None` without permission: the daemon is not dumpable, so
/// only root can read its descriptors.
fn tcp_listeners(daemon: &Daemon) -> Option<Vec<String>> {
    let process = format!("/proc/{}", daemon.child.id());
    let links = std::fs::read_dir(format!("{process}/fd")).ok()?;
    let links: Vec<_> = links.map(|link| std::fs::read_link(link.unwrap().path())).collect();
    let sockets: Vec<String> = links
        .into_iter()
        .flatten()
        .map(|link| link.display().to_string())
        .collect();
    let mut listeners = vec![];
    for table in ["tcp", "tcp6"] {
        let table = std::fs::read_to_string(format!("{process}/net/{table}")).unwrap_or_default();
        for line in table.lines() {
            let fields: Vec<_> = line.split_whitespace().collect();
            if let [_, local, _, "0A", _, _, _, _, _, inode, ..] = fields.as_slice()
                && sockets.contains(&format!("socket:[{inode}]"))
            {
                listeners.push((*local).to_owned());
            }
        }
    }
    Some(listeners)
}

/// The names of a process's threads.
fn threads(daemon: &Daemon) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.child.id())).unwrap();
    let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
    names.map(|name| name.trim().to_owned()).collect()
}

#[test]
fn http_off_opens_no_port() {
    let directory = tempfile::tempdir().unwrap();
    let home = directory.path().join("dekhand");
    let home = home.to_str().unwrap();
    // Without the option the default is an address.
    let daemon = Daemon::spawn(&["serve", "--dev", "--dir", home, "--http", "off"]);
    wait_for("status is content", || {
        dekhand(&["status", "--dev", "--dir", home]).status.success()
    });
    if let Some(listeners) = tcp_listeners(&daemon) {
        assert!(listeners.is_empty(), "{listeners:?}");
    }
    let threads = threads(&daemon);
    assert!(threads.contains(&"log".to_owned()), "{threads:?}");
    assert!(!threads.contains(&"http".to_owned()), "{threads:?}");
    let (_, log) = daemon.stop();
    assert!(!log.contains("health and metrics are served"), "{log}");
}

#[tokio::test]
async fn health_and_metrics_are_served_over_tcp_and_hold_no_secret() {
    let node = Node::new();
    let daemon = Daemon::spawn(&[
        "serve",
        "--config",
        &node.config(),
        "--http",
        "127.0.0.1:0",
        "--log-format",
        "json",
    ]);
    wait_for("status is content", || node.status().status.success());
    let address = daemon.http_address();
    assert!(threads(&daemon).contains(&"http".to_owned()));
    if let Some(listeners) = tcp_listeners(&daemon) {
        let port = format!(":{:04X}", address.port());
        assert!(
            matches!(listeners.as_slice(), [only] if only.ends_with(&port)),
            "{listeners:?}"
        );
    }

    let seed = b"5ecre7-seed-0f-the-AP1-server!!!";
    let mut caller = Caller::connect(&node.socket()).await;
    let sealed = caller.encrypt(seed).await.unwrap();
    assert_eq!(caller.decrypt(&sealed).await.unwrap(), seed);
    let ready = page(address, "/readyz?verbose");
    assert!(ready.starts_with("HTTP/1.1 200 "), "{ready}");
    assert!(
        ready.contains("[+]socket ok: listening\n") && ready.contains("[+]root-key ok: key_id "),
        "{ready}"
    );
    assert!(page(address, "/livez").ends_with("\r\n\r\nok"));
    let metrics = page(address, "/metrics");
    assert!(
        metrics.starts_with("HTTP/1.1 200 ")
            && metrics.contains("dekhand_requests_total{api=\"v2\",method=\"Encrypt\",code=\"OK\"} "),
        "{metrics}"
    );
    let keyring = std::fs::read_to_string(node.path("keyring.json")).unwrap();
    let keyring: serde_json::Value = serde_json::from_str(&keyring).unwrap();
    let key = keyring["versions"][0]["key"].as_str().unwrap();
    assert_eq!(key.len(), 64);
    let pages = (ready + &metrics).to_lowercase();
    for secret in [
        key,
        std::str::from_utf8(seed).unwrap(),
        &hex::encode(seed),
        &hex::encode(&sealed.ciphertext),
    ] {
        assert!(!pages.contains(&secret.to_lowercase()), "{pages}");
    }
    drop(caller);
    assert_eq!(daemon.stop().0, Some(0));
}

#[test]
fn a_mistyped_option_is_a_usage_error_with_a_hint() {
    let output = dekhand(&["serve", "--confg", "x"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--config"));
}
