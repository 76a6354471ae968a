//! Workers and the spawner: their starts, their ends, and the effect of stop signals.

use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Child;
use std::process::Command;

use rustix::process::Signal;

use support::calls::Kms;
use support::calls::stock;
use support::calls::stop;
use support::calls::until;
use support::calls::until_logged;
use support::calls::until_proofs_are_made;
use support::daemon::Daemon;
use support::daemon::copy_program;
use support::daemon::wait_for;
use support::processes::lives;
use support::processes::send;
use support::processes::spawner;
use support::processes::worker;
use support::processes::workers;
use support::token_node::Node;
use support::token_node::Settings;

/// A call may hang for the length of a test.
const PATIENT: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 25s", "open_timeout: 25s"],
    lines: &["probe: {interval: 1h}"],
};
const QUICK: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 1s", "open_timeout: 1s"],
    lines: &["probe: {interval: 1h}"],
};

/// The successor of the worker `before`.
async fn next_worker(daemon: &Daemon, before: u32) -> u32 {
    let mut next = before;
    until("another worker is there", || {
        next = workers(daemon).first().copied().unwrap_or(before);
        next != before && !lives(before)
    })
    .await;
    next
}

#[tokio::test]
async fn a_worker_that_died_has_a_successor_also_after_the_programs_file_was_replaced_or_removed() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 2).await;
    let program = node.path("dekhand");
    copy_program(Path::new(env!("CARGO_BIN_EXE_dekhand")), &program);
    let config = node.config();
    let daemon = Daemon::spawn_program(&program, &["serve", "--config", &config, "--log-format", "json"]);
    wait_for("the daemon serves", || node.status().status.success());
    let kms = Kms::connect(&node.socket()).await;

    let upgrade = node.path("dekhand.new");
    std::fs::write(&upgrade, "#!/bin/false\n").unwrap();
    std::fs::rename(&upgrade, &program).unwrap();
    let first = worker(&daemon);
    send(first, Signal::KILL);
    kms.decrypt(&stock[0]).await.unwrap();
    let second = next_worker(&daemon, first).await;

    std::fs::remove_file(&program).unwrap();
    send(second, Signal::KILL);
    kms.decrypt(&stock[1]).await.unwrap();
    next_worker(&daemon, second).await;
}

#[tokio::test]
async fn all_processes_end_with_a_daemon_that_is_killed_although_a_call_hangs() {
    for fault in ["", "C_Decrypt hang"] {
        let node = Node::with(PATIENT);
        let stock = stock(&node, PATIENT, 1).await;
        let mut daemon = node.start();
        let (spawner, worker) = (spawner(&daemon), worker(&daemon));
        node.token.set(fault);
        node.token.forget_calls();
        let kms = Kms::connect(&node.socket()).await;
        let call = tokio::spawn(async move { kms.decrypt(&stock[0]).await });
        until("the worker is in the call", || node.token.calls("C_Decrypt") > 0).await;
        daemon.child.kill().unwrap();
        daemon.child.wait().unwrap();
        until("all processes have ended", || !lives(spawner) && !lives(worker)).await;
        call.abort();
    }
}

/// A process in the group of another one, as some modules start.
fn join_group_of(process: u32) -> Child {
    let mut sleep = Command::new("sleep");
    sleep.arg("1000").process_group(i32::try_from(process).unwrap());
    sleep.spawn().unwrap()
}

#[tokio::test]
async fn what_a_module_has_started_ends_with_its_worker() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 1).await;
    let daemon = node.start();
    let first = worker(&daemon);
    let mut started = join_group_of(first);
    send(first, Signal::KILL);
    until("it ended with a worker that died", || {
        started.try_wait().unwrap().is_some()
    })
    .await;

    let second = next_worker(&daemon, first).await;
    let mut started = join_group_of(second);
    node.token.set("C_Decrypt hang times 1");
    let kms = Kms::connect(&node.socket()).await;
    kms.decrypt(&stock[0]).await.unwrap_err();
    until("it ended with a worker that hung", || {
        started.try_wait().unwrap().is_some()
    })
    .await;
    kms.until_open(&stock[0]).await;

    let third = next_worker(&daemon, second).await;
    let mut started = join_group_of(third);
    assert_eq!(daemon.stop().0, Some(0));
    until("it ended with the daemon", || started.try_wait().unwrap().is_some()).await;
}

#[tokio::test]
async fn stop_signals_to_all_processes_are_for_the_daemon_which_finishes_what_it_has_begun() {
    let node = Node::with(PATIENT);
    let stock = stock(&node, PATIENT, 1).await;
    let daemon = node.start();
    let (spawner, worker) = (spawner(&daemon), worker(&daemon));
    until_proofs_are_made(&node).await;
    node.token.set("C_Decrypt delay 500ms");
    node.token.forget_calls();
    let kms = Kms::connect(&node.socket()).await;
    let call = tokio::spawn(async move { kms.decrypt(&stock[0]).await });
    until("the worker is in the call", || node.token.calls("C_Decrypt") > 0).await;
    for process in [worker, spawner, daemon.child.id()] {
        send(process, Signal::TERM);
    }
    call.await.unwrap().unwrap();
    let (code, log) = daemon.wait();
    assert_eq!(code, Some(0), "{log}");
    assert!(!lives(worker) && !lives(spawner));
    assert_eq!(
        node.token.calls("C_Finalize"),
        1,
        "the worker has left its token in order"
    );
}

#[tokio::test]
async fn a_daemon_stops_in_order_although_its_module_hangs() {
    let node = Node::with(PATIENT);
    let stock = stock(&node, PATIENT, 1).await;
    let daemon = node.start();
    let (spawner, worker) = (spawner(&daemon), worker(&daemon));
    node.token.set("* hang");
    node.token.forget_calls();
    let kms = Kms::connect(&node.socket()).await;
    let call = tokio::spawn(async move { kms.decrypt(&stock[0]).await });
    until("the worker is in the call", || !node.token.record().is_empty()).await;
    let (code, log) = stop(daemon).await;
    assert_eq!(code, Some(0), "{log}");
    assert!(!lives(worker) && !lives(spawner));
    call.await.unwrap().unwrap_err();
}

#[tokio::test]
async fn a_daemon_whose_spawner_died_ends_so_that_a_new_one_can_start_workers() {
    let node = Node::with(QUICK);
    let daemon = node.start();
    let worker = worker(&daemon);
    send(spawner(&daemon), Signal::KILL);
    let (code, log) = daemon.wait();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("the process that starts token workers has ended"), "{log}");
    until("the worker has ended too", || !lives(worker)).await;
    let _daemon = node.start();
}

#[tokio::test]
async fn a_proof_in_which_the_token_hangs_ends_one_worker_and_not_the_next_one() {
    let settings = Settings {
        lines: &["probe: {interval: 1s}", "data_keys: {reuse: never}"],
        ..QUICK
    };
    let node = Node::with(settings);
    let daemon = node.start();
    let sealed = Kms::connect(&node.socket()).await.encrypt().await.unwrap();
    // A worker finishes its proof although its daemon has stopped.
    until_proofs_are_made(&node).await;
    stop(daemon).await;
    std::fs::remove_file(node.path("state/proofs.json")).unwrap();
    node.token.set("hang cbc");
    let daemon = node.start();
    // On a busy machine the first worker may be lost before the daemon counts as started.
    until_logged(&daemon, "the token worker is lost").await;
    let kms = Kms::connect(&node.socket()).await;
    kms.until_open(&sealed).await;
    until_logged(&daemon, "has not ended a wrap by").await;
    let second = worker(&daemon);
    node.token.forget_calls();
    until("probes have wrapped", || node.token.calls("C_Encrypt") > 1).await;
    assert_eq!(worker(&daemon), second, "{}", daemon.log());
}

#[tokio::test]
async fn what_a_module_prints_is_in_the_log_at_debug_and_with_the_loss_of_its_worker_at_any_level() {
    const PRINTED: &str = "vendor: this is a line that nobody asked for";
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 2).await;
    for (level, lines) in [("debug", 2), ("info", 0)] {
        let config = node.config();
        let arguments = [
            "serve",
            "--config",
            &config,
            "--log-format",
            "json",
            "--log-level",
            level,
        ];
        let daemon = Daemon::spawn(&arguments);
        wait_for("the daemon serves", || node.status().status.success());
        let kms = Kms::connect(&node.socket()).await;
        node.token.set("C_Decrypt noise times 1");
        kms.decrypt(&stock[0]).await.unwrap();
        wait_for("both streams are logged", || {
            daemon.log().matches("a PKCS#11 module has printed").count() == lines
        });
        node.token.set("C_Decrypt noise\nC_Decrypt abort times 1");
        kms.decrypt(&stock[1]).await.unwrap();
        until_logged(&daemon, "the token worker is lost").await;
        let log = daemon.log();
        let lost = log
            .lines()
            .find(|line| line.contains("the token worker is lost"))
            .unwrap();
        assert!(lost.contains(PRINTED), "{lost}");
        node.token.set("");
        daemon.stop();
    }
}
