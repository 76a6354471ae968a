//! `dekhand status` for people, scripts and probes; and a socket that is removed under the daemon.

use std::net::TcpStream;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use support::daemon::Daemon;
use support::daemon::HANG;
use support::daemon::dekhand;
use support::daemon::program;
use support::daemon::wait_for;
use support::keyring_node::Node;
use support::token_node;
use support::token_node::Settings;

#[test]
fn status_waits_for_a_daemon_that_starts_later_and_says_what_for() {
    let node = Node::new();
    let waiting = Command::new(program())
        .args(["status", "--wait", "60s", "--config", &node.config()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let _daemon = node.start();
    let output = waiting.wait_with_output().unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("key_id"));
}

#[test]
fn status_that_waits_in_vain_says_what_for_and_fails_as_it_does_without_waiting() {
    let node = Node::new();
    let at_once = dekhand(&["status", "--config", &node.config()]);
    let later = dekhand(&["status", "--wait", "1s", "--config", &node.config()]);
    assert_eq!(later.status.code(), at_once.status.code());
    let said = String::from_utf8_lossy(&later.stderr);
    assert_eq!(said.matches("waiting: cannot connect").count(), 1, "{said}");
    assert!(said.contains("check that the daemon is running"), "{said}");
}

#[test]
fn a_daemon_that_cannot_encrypt_lives() {
    let node = Node::new();
    let live = || dekhand(&["status", "--live", "--config", &node.config()]);
    let nobody = live();
    assert_eq!(nobody.status.code(), Some(4), "{nobody:?}");
    std::fs::remove_file(node.path("keyring.json")).unwrap();
    let _daemon = node.spawn();
    wait_for("the daemon answers", || live().status.success());
    assert!(!node.status().status.success(), "it has no root key");
    let json = dekhand(&["status", "--live", "--output", "json", "--config", &node.config()]);
    assert!(
        String::from_utf8_lossy(&json.stdout).contains("\"ok\": true"),
        "{json:?}"
    );
}

#[test]
fn connections_to_the_health_page_without_a_pause_do_not_make_the_daemon_look_dead() {
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
    let address = daemon.http_address();
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    drop(TcpStream::connect(address));
                }
            });
        }
        let socket = node.socket();
        let probe = [
            "status",
            "--live",
            "--timeout",
            "5s",
            "--socket",
            socket.to_str().unwrap(),
        ];
        let outcomes: Vec<_> = (0..10).map(|_| dekhand(&probe)).collect();
        over.store(true, Ordering::Relaxed);
        assert!(outcomes.iter().all(|outcome| outcome.status.success()), "{outcomes:?}");
    });
}

#[test]
fn a_socket_that_was_removed_is_there_again_and_the_log_says_so_once() {
    let node = Node::new();
    let daemon = node.start();
    std::fs::remove_file(node.socket()).unwrap();
    wait_for("status is content", || node.status().status.success());
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0));
    assert_eq!(
        log.matches("callers can no longer reach the socket").count(),
        1,
        "{log}"
    );
    assert_eq!(log.matches("callers can reach the socket again").count(), 1, "{log}");
    assert!(!node.socket().exists());
}

#[test]
fn paths_on_the_command_line_are_relative_to_the_working_directory() {
    let place = tempfile::tempdir().unwrap();
    let run = |arguments: &[&str]| {
        let mut command = Command::new(program());
        command.args(arguments).current_dir(place.path());
        command
    };
    let serve = [
        "serve",
        "--dev",
        "--dir",
        "home",
        "--socket",
        "home/my.sock",
        "--http",
        "off",
    ];
    let daemon = Daemon::of(run(&serve));
    let status = |arguments: &[&str]| run(&[&["status"], arguments].concat()).output().unwrap();
    wait_for("status is content", || {
        status(&["--socket", "home/my.sock"]).status.success()
    });
    let (code, log) = daemon.stop();
    assert_eq!(code, Some(0), "{log}");
    let daemon = Daemon::of(run(&["serve", "--dev", "--dir", "home", "--http", "off"]));
    wait_for("status is content", || {
        status(&["--dev", "--dir", "home"]).status.success()
    });
    let keys = run(&["keys", "list", "--dev", "--dir", "home"]).output().unwrap();
    assert!(keys.status.success(), "{keys:?}");
    daemon.stop();
}

/// Starts a daemon under a service manager, and waits until it says that it is ready.
fn start_until_ready(config: &str, place: &Path) -> Daemon {
    let socket = place.join("notify");
    let manager = UnixDatagram::bind(&socket).unwrap();
    manager.set_read_timeout(Some(HANG)).unwrap();
    let mut command = Command::new(program());
    command
        .args(["serve", "--config", config])
        .env("NOTIFY_SOCKET", &socket);
    let daemon = Daemon::of(command);
    let mut message = [0; 100];
    let length = manager.recv(&mut message).unwrap();
    assert_eq!(message[..length].trim_ascii(), b"READY=1");
    daemon
}

#[test]
fn a_daemon_is_ready_when_it_can_encrypt() {
    let node = Node::new();
    let _daemon = start_until_ready(&node.config(), node.directory.path());
    let output = node.status();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn a_daemon_is_ready_although_its_token_is_away() {
    let node = token_node::Node::with(Settings::default());
    node.token.take_away();
    let _daemon = start_until_ready(&node.config(), &node.path(""));
    let output = node.status();
    assert!(!output.status.success(), "{output:?}");
}

#[test]
fn a_daemon_that_waits_before_its_first_login_is_ready_after_it() {
    let first = token_node::Node::with(Settings::default());
    let second = token_node::Node::on(&first.token, Settings::default());
    let daemon = start_until_ready(&second.config(), &second.path(""));
    assert!(daemon.log().contains("before it tries a PIN"), "{}", daemon.log());
    let output = second.status();
    assert!(output.status.success(), "{output:?}");
}
