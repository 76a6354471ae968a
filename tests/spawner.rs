//! The spawner with real processes: it starts and kills workers whatever happens to the program's file, and leaves none.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::io::ErrorKind;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use dekhand::backend::pkcs11::options::EnvironmentVariable;
use dekhand::backend::pkcs11::spawner::Prints;
use dekhand::backend::pkcs11::spawner::Spawner;
use dekhand::proto::token_worker::FromWorker;
use dekhand::proto::token_worker::from_worker::What;
use prost::Message as _;
use rustix::process::Pid;
use rustix::process::Signal;

const DEKHAND: &str = env!("CARGO_BIN_EXE_dekhand");
/// Far more than anything takes: only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

fn spawner() -> Spawner {
    Spawner::start_program(DEKHAND, Prints::ToStderr).unwrap()
}

fn start(spawner: &Spawner) -> UnixStream {
    spawner.start_worker(&[]).unwrap().0
}

fn signal(spawner: &Spawner, signal: Signal) {
    let pid = i32::try_from(spawner.id()).ok().and_then(Pid::from_raw).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

/// Everything that comes until the other end is gone.
fn rest(mut channel: UnixStream) -> Vec<u8> {
    channel.set_nonblocking(false).unwrap();
    channel.set_read_timeout(Some(HANG)).unwrap();
    let mut bytes = Vec::new();
    match channel.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset, "{error}"),
    }
    bytes
}

/// A worker that waits for its first message.
fn lives(channel: &UnixStream) -> bool {
    let read = (&*channel).read(&mut [0]);
    read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_killed_worker_is_gone_and_the_others_stay() {
    let spawner = spawner();
    let (first, number) = spawner.start_worker(&[]).unwrap();
    let second = start(&spawner);
    spawner.kill(number).unwrap();
    assert_eq!(rest(first), b"");
    assert!(lives(&second));
    spawner.kill(number).unwrap();
    assert!(lives(&second), "a number is never another worker's");
}

#[test]
fn workers_start_after_the_programs_file_was_replaced_or_removed() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("dekhand");
    std::fs::copy(DEKHAND, &program).unwrap();
    let spawner = Spawner::start_program(&program, Prints::ToStderr).unwrap();
    let (before, number) = spawner.start_worker(&[]).unwrap();
    let upgrade = directory.path().join("dekhand.new");
    std::fs::write(&upgrade, "#!/bin/false\n").unwrap();
    std::fs::rename(&upgrade, &program).unwrap();
    spawner.kill(number).unwrap();
    assert_eq!(rest(before), b"");
    can_start(&spawner);
    std::fs::remove_file(&program).unwrap();
    can_start(&spawner);
}

/// A worker that could not be started would say so, and one that lives says nothing until it is spoken to.
fn can_start(spawner: &Spawner) {
    let (channel, number) = spawner.start_worker(&[]).unwrap();
    spawner.kill(number).unwrap();
    assert_eq!(rest(channel), b"");
}

#[test]
fn a_worker_that_cannot_be_started_is_told_on_its_channel() {
    let spawner = spawner();
    let variable = EnvironmentVariable {
        name: "IMPOSSIBLE".to_owned(),
        value: "a\0b".to_owned(),
    };
    let bytes = rest(spawner.start_worker(&[variable]).unwrap().0);
    let message = FromWorker::decode(bytes.get(4..).unwrap()).unwrap();
    assert!(
        matches!(&message.what, Some(What::NotStarted(reason)) if reason.contains("nul byte")),
        "{bytes:?}"
    );
    can_start(&spawner);
}

#[test]
fn stop_signals_are_for_the_daemon_which_ends_its_spawner_itself() {
    let spawner = spawner();
    let worker = start(&spawner);
    // From here on it has certainly begun to listen.
    assert!(lives(&worker));
    can_start(&spawner);
    for stop in [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT] {
        signal(&spawner, stop);
    }
    can_start(&spawner);
    assert!(lives(&worker));
}

#[tokio::test]
async fn the_loss_of_the_spawner_is_noticed() {
    let spawner = spawner();
    let gone = spawner.gone();
    signal(&spawner, Signal::KILL);
    tokio::time::timeout(HANG, gone).await.unwrap().unwrap();
    let error = spawner.start_worker(&[]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn the_end_of_the_daemon_is_the_end_of_its_workers() {
    let spawner = spawner();
    let workers = [start(&spawner), start(&spawner)];
    let id = spawner.id();
    // They can't know: their channels are open. So they are killed.
    spawner.end();
    for worker in workers {
        assert_eq!(rest(worker), b"");
    }
    assert!(!Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn workers_whose_channels_are_closed_need_no_killing() {
    let spawner = spawner();
    drop([start(&spawner), start(&spawner)]);
    let id = spawner.id();
    drop(spawner);
    assert!(!Path::new(&format!("/proc/{id}")).exists());
}

#[test]
fn who_types_the_hidden_commands_is_told_that_dekhand_does() {
    for arguments in [&["token-spawner"][..], &["token-worker", "--parent", "1"]] {
        let output = Command::new(DEKHAND)
            .args(arguments)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("starts this process by itself"), "{said}");
    }
}
