//! Start, stop, kill, and two daemons for one place.

use std::os::unix::fs::PermissionsExt as _;

use rustix::process::Signal;

use crate::run::Caller;
use crate::run::Daemon;
use crate::run::Node;
use crate::run::dekhand;
use crate::run::wait_for;

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
fn a_connection_that_stays_open_does_not_keep_the_daemon_and_a_second_signal_ends_it_at_once() {
    let node = Node::new();
    let daemon = node.start();
    let _silent = std::os::unix::net::UnixStream::connect(node.socket()).unwrap();
    daemon.signal(Signal::TERM);
    daemon.signal(Signal::INT);
    assert_eq!(daemon.wait().0, Some(0));
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

#[test]
fn a_mistyped_option_is_a_usage_error_with_a_hint() {
    let output = dekhand(&["serve", "--confg", "x"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--config"));
}
