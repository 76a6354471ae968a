//! The spawner with real processes: it starts and kills workers whatever happens to the program's file, and leaves none.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::fs::File;
use std::io::ErrorKind;
use std::io::Read as _;
use std::io::Write as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use dekhand::backend::pkcs11::ipc::ProtocolError;
use dekhand::backend::pkcs11::ipc::call::Call;
use dekhand::backend::pkcs11::ipc::frame;
use dekhand::backend::pkcs11::ipc::frame::Frame;
use dekhand::backend::pkcs11::ipc::message::FromWorker;
use dekhand::backend::pkcs11::ipc::message::ToWorker;
use dekhand::backend::pkcs11::spawner::Prints;
use dekhand::backend::pkcs11::spawner::Spawner;
use dekhand::backend::pkcs11::spawner::WorkerNumber;
use dekhand::backend::pkcs11::spawner::WorkerSource;
use dekhand::hardening::LockMemory;
use dekhand::token::assignment::Assignment;
use dekhand::token::assignment::Role;
use dekhand::token::options::Pkcs11Options;
use dekhand::token::variable::EnvironmentVariable;
use dekhand::token::variable::VariableValue;
use rustix::fs::MemfdFlags;
use rustix::fs::SealFlags;
use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;
use rustix::thread::CapabilitySet;

const DEKHAND: &str = env!("CARGO_BIN_EXE_dekhand");
/// Far more than anything takes: only a hang reaches it.
const HANG: Duration = Duration::from_secs(60);

/// What a worker of a module that is not there is told.
fn assignment(name: &str) -> Assignment {
    Assignment {
        role: Role::Daemon,
        root_key: name.parse().unwrap(),
        options: Pkcs11Options::new("/nowhere/module.so".into(), "token".parse().unwrap()),
        state: None,
        memory: 1 << 30,
        lock_memory: LockMemory::Off,
    }
}

fn spawner_of(assignments: Vec<Assignment>) -> Spawner {
    Spawner::start_program(DEKHAND, Prints::ToStderr, assignments).unwrap()
}

fn spawner() -> Spawner {
    spawner_of(vec![assignment("test"), assignment("other")])
}

fn source(spawner: &Spawner, name: &str) -> WorkerSource {
    spawner.workers(&name.parse().unwrap(), Role::Daemon).unwrap()
}

/// Asks for a worker. Returns its channel when it has said its first word.
fn started(source: &WorkerSource) -> (UnixStream, WorkerNumber, FromWorker) {
    let (channel, number) = source.start_worker().unwrap();
    let first = read(&channel).unwrap();
    channel.set_nonblocking(true).unwrap();
    (channel, number, first)
}

/// Starts a worker that comes to work.
fn start(source: &WorkerSource) -> (UnixStream, WorkerNumber) {
    let (channel, number, first) = started(source);
    assert!(matches!(first, FromWorker::Hello { .. }), "{:?}", reason(first));
    (channel, number)
}

/// Why there is no worker.
fn reason(first: FromWorker) -> Option<String> {
    match first {
        FromWorker::NotStarted(reason) => Some(reason),
        _ => None,
    }
}

/// The next message, or nothing when there comes none.
fn read(channel: &UnixStream) -> Option<FromWorker> {
    channel.set_nonblocking(false).unwrap();
    channel.set_read_timeout(Some(HANG)).unwrap();
    match frame::read(channel) {
        Ok(message) => Some(message),
        Err(ProtocolError::Channel(error)) => {
            let ended = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
            assert!(ended.contains(&error.kind()), "{error}");
            None
        }
        Err(error) => panic!("{error}"),
    }
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

/// A worker that waits for its first call.
fn lives(channel: &UnixStream) -> bool {
    let read = (&*channel).read(&mut [0]);
    read.is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
}

#[test]
fn a_killed_worker_is_gone_and_the_others_stay() {
    let spawner = spawner();
    let source = source(&spawner, "test");
    let (first, number) = start(&source);
    let (second, _) = start(&source);
    source.kill(number).unwrap();
    assert_eq!(rest(first), b"");
    assert!(lives(&second));
    source.kill(number).unwrap();
    assert!(lives(&second), "a number is never another worker's");
}

#[test]
fn a_third_worker_of_an_assignment_is_started_when_one_is_gone() {
    let spawner = spawner();
    let source = source(&spawner, "test");
    let workers = [start(&source), start(&source)];
    let (_, _, first) = started(&source);
    assert_eq!(reason(first).unwrap(), "2 token workers of this root key run already");
    // Another root key has its own.
    start(&self::source(&spawner, "other"));
    source.kill(workers[0].1).unwrap();
    start(&source);
    assert!(lives(&workers[1].0));
}

#[test]
fn workers_start_after_the_programs_file_was_replaced_or_removed() {
    let directory = tempfile::tempdir().unwrap();
    let program = directory.path().join("dekhand");
    support::daemon::copy_program(DEKHAND.as_ref(), &program);
    let spawner = Spawner::start_program(&program, Prints::ToStderr, vec![assignment("test")]).unwrap();
    can_start(&spawner);
    let upgrade = directory.path().join("dekhand.new");
    std::fs::write(&upgrade, "#!/bin/false\n").unwrap();
    std::fs::rename(&upgrade, &program).unwrap();
    can_start(&spawner);
    std::fs::remove_file(&program).unwrap();
    can_start(&spawner);
}

/// A worker that could not be started would say so, and one that lives says nothing more before it is called.
fn can_start(spawner: &Spawner) {
    let source = source(spawner, "test");
    let (channel, number) = start(&source);
    source.kill(number).unwrap();
    assert_eq!(rest(channel), b"");
}

#[test]
fn a_worker_that_cannot_be_started_is_told_on_its_channel() {
    let mut impossible = assignment("impossible");
    impossible.options.environment = vec![EnvironmentVariable {
        name: "IMPOSSIBLE".to_owned(),
        value: VariableValue::Text("a\0b".to_owned()),
    }];
    let spawner = spawner_of(vec![impossible, assignment("test")]);
    let (_, _, first) = started(&source(&spawner, "impossible"));
    let told = reason(first).unwrap();
    assert!(told.contains("nul byte"), "{told}");
    can_start(&spawner);
}

#[test]
fn what_is_not_in_the_list_has_no_workers() {
    let spawner = spawner();
    assert!(spawner.workers(&"another".parse().unwrap(), Role::Daemon).is_none());
    assert!(spawner.workers(&"test".parse().unwrap(), Role::Admin).is_none());
}

#[test]
fn a_worker_that_is_told_what_is_no_call_ends() {
    let spawner = spawner();
    let source = source(&spawner, "test");
    let call = Call::Tokens;
    let call = Frame::of(&ToWorker { number: 1, call }).unwrap();
    let continued = [call.message(), &[0]].concat();
    let cut_short = &call.message()[..1];
    for message in [&[][..], cut_short, &continued, b"no message"] {
        let (mut channel, _) = start(&source);
        let length = u32::try_from(message.len()).unwrap().to_be_bytes();
        channel.write_all(&[&length, message].concat()).unwrap();
        assert_eq!(rest(channel), b"", "{message:?}");
    }
}

/// The first word of a worker that this process has started with a document of its own.
fn told(document: &[u8], sealed: SealFlags) -> String {
    let flags = MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING;
    let mut memory = File::from(rustix::fs::memfd_create("test", flags).unwrap());
    memory.write_all(document).unwrap();
    rustix::fs::fcntl_add_seals(&memory, sealed).unwrap();
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut worker = Command::new(DEKHAND)
        .args(["token-worker", "--parent", &std::process::id().to_string()])
        .stdin(OwnedFd::from(theirs))
        .stdout(memory)
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let first = read(&ours).unwrap();
    assert_eq!(worker.wait().unwrap().code(), Some(1));
    reason(first).unwrap()
}

#[test]
fn a_worker_takes_its_assignment_from_its_own_build_and_as_nobody_else_can_change_it() {
    let document = b"0.0.0 of somebody else\n{}";
    let other = told(
        document,
        SealFlags::SEAL | SealFlags::WRITE | SealFlags::GROW | SealFlags::SHRINK,
    );
    assert!(other.contains("was started by build 0.0.0 of somebody else"), "{other}");
    let open = told(document, SealFlags::GROW);
    assert!(open.contains("is not sealed"), "{open}");
}

#[test]
fn where_memory_must_be_locked_and_cannot_be_no_worker_starts() {
    // Only the limit of what may be locked; no test of this file locks more.
    let before = rustix::process::getrlimit(Resource::Memlock);
    let current = Some(64 << 10);
    rustix::process::setrlimit(Resource::Memlock, Rlimit { current, ..before }).unwrap();
    let workers = std::thread::spawn(|| {
        // What is started by this thread has not got it, root's children neither.
        let capability = CapabilitySet::IPC_LOCK;
        if rustix::thread::capabilities(None)
            .unwrap()
            .effective
            .contains(capability)
        {
            rustix::thread::remove_capability_from_bounding_set(capability).unwrap();
        }
        let lock = |name, lock_memory| Assignment {
            lock_memory,
            ..assignment(name)
        };
        let list = [
            ("must", LockMemory::Require),
            ("try", LockMemory::Try),
            ("off", LockMemory::Off),
        ];
        let spawner = spawner_of(list.map(|(name, lock_memory)| lock(name, lock_memory)).into());
        list.map(|(name, _)| started(&source(&spawner, name)).2)
    });
    let [must, tried, off] = workers.join().unwrap();
    let told = reason(must).unwrap();
    assert!(
        told.contains("cannot keep memory from swap") && told.contains("CAP_IPC_LOCK"),
        "{told}"
    );
    let is_warned = |first| match first {
        FromWorker::Hello { warnings, .. } => warnings.iter().any(|warning| warning.contains("memory may be swapped")),
        _ => panic!("not started"),
    };
    assert!(is_warned(tried));
    assert!(!is_warned(off));
}

#[test]
fn stop_signals_are_for_the_daemon_which_ends_its_spawner_itself() {
    let spawner = spawner();
    // From here on it has certainly begun to listen.
    let (worker, _) = start(&source(&spawner, "test"));
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
    let error = source(&spawner, "test").start_worker().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::BrokenPipe);
}

#[test]
fn the_end_of_the_daemon_is_the_end_of_its_workers() {
    let spawner = spawner();
    let workers = ["test", "other"].map(|name| start(&source(&spawner, name)).0);
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
    drop(["test", "other"].map(|name| start(&source(&spawner, name))));
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
        assert!(said.contains("starts this process itself"), "{said}");
    }
}
