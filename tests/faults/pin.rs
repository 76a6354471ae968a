//! A PIN that the token rejects: tolerated like any outage, reported at once, and used again when it is right again.

use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;

use token_shim::token::PIN;
use token_shim::token::Token;

use support::calls::Kms;
use support::calls::start_with_http;
use support::calls::stock;
use support::calls::until;
use support::calls::until_logged;
use support::daemon::page;
use support::processes::send;
use support::processes::worker;
use support::token_node::Node;
use support::token_node::Settings;

const QUICK: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 1s", "open_timeout: 1s"],
    lines: &["probe: {interval: 1s}"],
};

#[tokio::test]
async fn a_rejected_pin_is_told_at_once_and_tolerated_like_an_outage_until_it_is_corrected() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 1).await;
    let (daemon, http) = start_with_http(&node);
    let kms = Kms::connect(&node.socket()).await;
    let key_id = kms.status().await.unwrap();
    let sealed = kms.encrypt().await.unwrap();
    let gauge = |value| format!("dekhand_pin_rejected{{root_key=\"test\"}} {value}\n");
    assert!(page(http, "/metrics").contains(&gauge(0)));

    // A command gets the rejection: the daemon's next worker knows of it, and neither waits nor tries the PIN.
    node.set_pin("wrong");
    node.token.set("pin locks 5");
    let refused = node.command(&["keys", "list"]);
    assert!(!refused.status.success());
    assert_eq!(node.token.wrong_pins(), 1);
    send(worker(&daemon), rustix::process::Signal::KILL);
    until("an alert is raised", || page(http, "/metrics").contains(&gauge(1))).await;
    assert_eq!(kms.status().await.unwrap(), key_id);
    assert_eq!(kms.encrypt().await.unwrap().key_id, key_id);
    kms.decrypt(&sealed).await.unwrap();
    kms.decrypt(&stock[0]).await.unwrap_err();
    assert_eq!(node.token.wrong_pins(), 1, "it was not tried again");

    node.set_pin(PIN);
    kms.until_open(&stock[0]).await;
    kms.until_status("all is well", |status| status == Ok(&key_id)).await;
    until("the alert ends", || page(http, "/metrics").contains(&gauge(0))).await;
    assert_eq!(node.token.wrong_pins(), 0, "the right one has reset the count");
}

#[tokio::test]
async fn a_daemon_whose_token_asks_for_its_pin_itself_asks_once_and_again_when_a_command_has_logged_in() {
    let node = Node::new();
    let config = std::fs::read_to_string(node.path("config.yaml")).unwrap();
    let lines = config.lines().map(|line| {
        if line.contains("pin: {file:") {
            "      login: protected-path"
        } else {
            line
        }
    });
    std::fs::write(node.path("config.yaml"), lines.collect::<Vec<_>>().join("\n")).unwrap();
    // No flag warns, as with a TPM.
    node.token.set("protected-path wrong\npin locks 5 silent");

    let mut daemon = node.spawn();
    until("the PIN was rejected", || node.token.wrong_pins() > 0).await;
    for _ in 0..2 {
        until_logged(&daemon, "has rejected the PIN from its own device before").await;
        assert_eq!(daemon.stop().0, Some(0));
        daemon = node.spawn();
    }
    assert_eq!(
        node.token.wrong_pins(),
        1,
        "neither a new worker nor a restart has asked again"
    );

    node.token.set(&format!("protected-path {PIN}"));
    let info = node.command(&["token", "info"]);
    let said = String::from_utf8_lossy(&info.stderr);
    assert!(info.status.success(), "{said}");
    assert!(said.contains("warning: type the PIN at the device"), "{said}");
    let kms = Kms::when_open(&node.socket()).await;
    kms.until_status("the daemon has logged in", |status| status.is_ok())
        .await;
}

#[tokio::test]
async fn a_wrong_pin_that_the_token_counts_without_an_answer_is_tried_twice_over_any_number_of_restarts() {
    let node = Node::with(QUICK);
    node.set_pin("wrong");
    node.token.set("pin locks 3 silent\nwrong-pin hang");

    let mut daemon = node.spawn();
    until("the token has counted it", || node.token.wrong_pins() > 0).await;
    for _ in 0..2 {
        // With a login that hangs, or with one that was interrupted.
        assert_eq!(daemon.stop().0, Some(0));
        daemon = node.spawn();
        until_logged(&daemon, "ended without a verdict").await;
    }
    assert_eq!(node.token.wrong_pins(), 2, "the third would have locked it");

    node.set_pin(PIN);
    Kms::when_open(&node.socket()).await;
    until("the right one was tried", || node.token.wrong_pins() == 0).await;
}

/// A node that has never logged in to its token, with this PIN in its file.
fn fresh(pin: &str, settings: Settings<'_>) -> Node {
    let node = Node::on(&Arc::new(Token::new()), settings);
    node.set_pin(pin);
    node
}

/// `dekhand keys list` in several processes at once.
fn list_at_once(node: &Node, processes: usize) -> Vec<Output> {
    let config = node.config();
    let spawn = |_| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dekhand"));
        command.args(["keys", "list", "--config", &config]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let children: Vec<_> = (0..processes).map(spawn).collect();
    let wait = |child: std::process::Child| child.wait_with_output().unwrap();
    children.into_iter().map(wait).collect()
}

/// The error of a failed command.
fn complaint(output: &Output) -> String {
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{text}");
    text
}

#[test]
fn eight_commands_at_once_try_one_wrong_pin_once() {
    let node = fresh("wrong", QUICK);
    // No flag warns.
    node.token.set("pin locks 10 silent");
    let commands = list_at_once(&node, 8);
    assert_eq!(node.token.calls("C_Login"), 1);
    for command in &commands {
        let text = complaint(command);
        assert!(text.contains("rejected the PIN"), "{text}");
    }
}

#[test]
fn eight_commands_at_once_with_the_right_pin_all_succeed_though_it_has_never_worked_here() {
    let node = fresh(PIN, QUICK);
    // Long enough that all of them have begun before the first login ends.
    node.token.set("C_Login delay 500ms");
    for command in list_at_once(&node, 8) {
        assert!(command.status.success(), "{}", String::from_utf8_lossy(&command.stderr));
    }
}

#[test]
fn eight_commands_at_once_whose_logins_hang_try_a_wrong_pin_twice() {
    let node = fresh("wrong", QUICK);
    node.token.set("pin locks 10 silent\nwrong-pin hang");
    let commands = list_at_once(&node, 8);
    assert_eq!(node.token.wrong_pins(), 2);
    for command in &commands {
        let text = complaint(command);
        let is_clear = text.contains("ended without a verdict") || text.contains("did not answer");
        assert!(is_clear, "{text}");
    }
}

#[tokio::test]
async fn a_daemon_with_two_root_keys_and_commands_beside_it_try_one_wrong_pin_once() {
    let node = fresh("wrong", QUICK);
    node.token.set("pin locks 10 silent");
    let config = std::fs::read_to_string(node.path("config.yaml")).unwrap();
    let (before, entry) = config.split_once("root_keys:\n").unwrap();
    let (entry, after) = entry.split_once("probe:").unwrap();
    let other = entry.replace("name: test", "name: other");
    let both = format!("{before}root_keys:\n{entry}{other}probe:{after}");
    std::fs::write(node.path("config.yaml"), both).unwrap();

    let daemon = node.spawn();
    let list = |name: &'static str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_dekhand"));
        command.args(["keys", "list", "--root-key", name, "--config", &node.config()]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        command.spawn().unwrap()
    };
    let commands: Vec<_> = ["test", "other", "test", "other"].map(list).into();
    for command in commands {
        let text = complaint(&command.wait_with_output().unwrap());
        assert!(text.contains("rejected the PIN"), "{text}");
    }
    // Each of its workers waits a random time before an unproven PIN.
    for name in ["test", "other"] {
        until("both workers were refused", || {
            let log = daemon.log();
            let mut lines = log.lines().filter(|line| line.contains("has rejected the PIN from"));
            lines.any(|line| line.contains(&format!("\"root_key\":\"{name}\"")))
        })
        .await;
    }
    assert_eq!(node.token.calls("C_Login"), 1);
}
