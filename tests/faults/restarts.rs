//! PINs over restarts of workers and daemons, and on three nodes at once: the number of attempts spent.

use std::sync::Arc;

use rustix::process::Signal;
use token_shim::token::PIN;

use support::daemon::Daemon;
use support::daemon::wait_for;
use support::processes::send;
use support::processes::worker;
use support::token_node::Node;
use support::token_node::Settings;

const QUICK: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 1s", "open_timeout: 1s"],
    lines: &["probe: {interval: 1s}"],
};

fn until_rejected(daemon: &Daemon) {
    wait_for("the rejected PIN is told", || daemon.log().contains("the PIN from"));
}

#[test]
fn three_nodes_with_one_wrong_pin_spend_one_try_each_however_often_they_restart() {
    let first = Node::with(QUICK);
    let token = Arc::clone(&first.token);
    // No flag warns, as with a TPM.
    token.set("pin locks 10 silent");
    token.forget_calls();
    let nodes: Vec<_> = (0..3).map(|_| Node::on(&token, QUICK)).collect();
    for node in &nodes {
        node.set_pin("0000");
    }
    let daemons: Vec<_> = nodes.iter().map(Node::spawn).collect();
    for daemon in &daemons {
        until_rejected(daemon);
        assert!(
            daemon
                .log()
                .contains("before it tries a PIN that has not worked on this token yet")
        );
    }
    assert_eq!((token.wrong_pins(), token.calls("C_Login")), (3, 3));
    for daemon in daemons {
        daemon.stop();
    }
    for _ in 0..2 {
        let daemons: Vec<_> = nodes.iter().map(Node::spawn).collect();
        daemons.iter().for_each(until_rejected);
        // Like a supervisor that kills and restarts it.
        drop(daemons);
    }
    // One attempt for each node: a node has no record of another node's attempt.
    assert_eq!((token.wrong_pins(), token.calls("C_Login")), (3, 3));
}

#[test]
fn a_pin_that_the_token_has_changed_is_tried_once_by_all_workers_together() {
    let node = Node::with(QUICK);
    let daemon = node.start();
    node.token.set("pin locks 10");
    node.set_pin("0000");
    let before = node.token.calls("C_Login");
    send(worker(&daemon), Signal::KILL);
    until_rejected(&daemon);
    assert!(daemon.log().contains("the PIN from"), "{}", daemon.log());
    // At least one more worker has started and ended without an attempt.
    let initialised = node.token.calls("C_Initialize");
    wait_for("another worker", || node.token.calls("C_Initialize") > initialised);
    assert_eq!(node.token.calls("C_Login"), before + 1);
    // The wrong PIN before it is the reason of the low count.
    node.set_pin(PIN);
    wait_for("it serves", || node.status().status.success());
    wait_for("the right PIN", || node.token.wrong_pins() == 0);
}
