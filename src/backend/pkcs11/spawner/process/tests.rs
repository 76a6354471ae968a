//! How the spawner handles processes.

use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;

use rustix::process::Pid;
use rustix::process::PidfdFlags;

use super::*;
use crate::hardening::LockMemory;
use crate::token::assignment::Role;
use crate::token::options::Pkcs11Options;

fn worker(number: u64, process: Child) -> Worker {
    let pidfd = rustix::process::pidfd_open(Pid::from_child(&process), PidfdFlags::empty()).unwrap();
    let (channel, _daemon) = UnixStream::pair().unwrap();
    Worker {
        number,
        index: 0,
        process,
        channel: channel.into(),
        pidfd: Some(pidfd),
        killed: None,
    }
}

fn list() -> Vec<Entry> {
    let assignment = Assignment {
        role: Role::Daemon,
        root_key: "test".parse().unwrap(),
        options: Pkcs11Options::new("/module.so".into(), "token".parse().unwrap()),
        state: None,
        memory: 1 << 30,
        lock_memory: LockMemory::Off,
    };
    vec![Entry {
        assignment,
        pace: Pace::default(),
    }]
}

/// The reason for refusing to start a worker beside others.
fn refusal(index: u32, others: &[Worker]) -> String {
    let (ours, theirs) = UnixStream::pair().unwrap();
    assert!(start_worker(4, index, &theirs.into(), &mut list(), others).is_none());
    let FromWorker::NotStarted(reason) = frame::read(&ours).unwrap() else {
        panic!("started");
    };
    reason
}

#[test]
fn what_a_worker_has_started_ends_with_it() {
    let mut process = Command::new("sh")
        .args(["-c", "sleep 1000 & exit 0"])
        .stdout(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut output = process.stdout.take().unwrap();
    let mut workers = vec![worker(0, process)];
    while !workers.is_empty() {
        wait(None, &mut workers, None).unwrap();
    }
    // A surviving process would keep the pipe open.
    assert_eq!(output.read(&mut [0]).unwrap(), 0);
}

#[test]
fn the_end_of_a_worker_is_noticed_without_a_pidfd() {
    let process = Command::new("sleep").arg("1000").process_group(0).spawn().unwrap();
    let mut worker = worker(0, process);
    worker.pidfd = None;
    let mut workers = vec![worker];
    wait(None, &mut workers, Some(Duration::ZERO)).unwrap();
    assert_eq!(workers.len(), 1, "it runs");
    workers.iter_mut().for_each(Worker::kill);
    while !workers.is_empty() {
        wait(None, &mut workers, None).unwrap();
    }
}

#[test]
fn the_daemon_knows_of_a_workers_death_although_a_process_outside_its_group_holds_the_channel() {
    let (theirs, mut ours) = UnixStream::pair().unwrap();
    // Ends when its stdin does.
    let mut process = Command::new("setsid")
        .args(["--fork", "sh", "-c", "echo started >&2; exec cat"])
        .stdin(OwnedFd::from(theirs.try_clone().unwrap()))
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .unwrap();
    let mut begun = [0; 8];
    process.stderr.take().unwrap().read_exact(&mut begun).unwrap();
    let mut worker = worker(0, process);
    worker.channel = theirs.into();
    let mut workers = vec![worker];
    while !workers.is_empty() {
        wait(None, &mut workers, None).unwrap();
    }
    assert_eq!(ours.read(&mut [0]).unwrap(), 0);
}

/// A process that ends when its stdin is closed, at the latest with this test.
fn running(number: u64) -> Worker {
    let mut command = Command::new("cat");
    worker(
        number,
        command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap(),
    )
}

/// A process that leads no group of its own, so it survives the kill of a worker, as one that hangs in the kernel does.
fn undead(number: u64) -> Worker {
    let mut worker = running(number);
    worker.kill();
    worker
}

fn bury(workers: Vec<Worker>) {
    for mut worker in workers {
        // Closes its stdin.
        worker.process.wait().unwrap();
    }
}

#[test]
fn workers_that_cannot_be_killed_do_not_pile_up() {
    let mut workers: Vec<_> = (0..4).map(undead).collect();
    limits::may_live(&workers, 0).unwrap();
    let long_ago = Instant::now().checked_sub(2 * GRACE);
    for worker in &mut workers {
        worker.killed = long_ago;
    }
    let reason = refusal(0, &workers);
    let pid = workers.first().unwrap().process.id().to_string();
    assert!(
        reason.starts_with("4 token workers can't be killed") && reason.contains(&pid),
        "{reason}"
    );
    // The device has answered one of them.
    drop(workers.last_mut().unwrap().process.stdin.take());
    while workers.len() == 4 {
        wait(None, &mut workers, None).unwrap();
    }
    limits::may_live(&workers, 0).unwrap();
    bury(workers);
}

#[test]
fn of_an_assignment_one_worker_lives_and_one_that_replaces_it() {
    let mut workers = vec![running(0), undead(1)];
    limits::may_live(&workers, 0).unwrap();
    workers.push(running(2));
    assert_eq!(refusal(0, &workers), "2 token workers of this root key run already");
    limits::may_live(&workers, 1).unwrap();
    bury(workers);
}

#[test]
fn what_is_not_in_the_list_is_not_started() {
    for index in [1, u32::MAX] {
        assert_eq!(refusal(index, &[]), "there is no such assignment");
    }
}

#[test]
fn a_channel_that_does_not_take_a_word_holds_nobody_up() {
    let (ours, theirs) = UnixStream::pair().unwrap();
    theirs.set_nonblocking(true).unwrap();
    while rustix::net::send(&theirs, &[0; 4096], SendFlags::DONTWAIT).is_ok() {}
    assert!(start_worker(0, 1, &theirs.into(), &mut list(), &[]).is_none());
    drop(ours);
    let no_socket = std::fs::File::open("/dev/null").unwrap();
    assert!(start_worker(0, 1, &no_socket.into(), &mut list(), &[]).is_none());
}
