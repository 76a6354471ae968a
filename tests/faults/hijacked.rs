//! Limits of code inside the daemon that has all of the daemon's resources: it starts no program and changes no
//! version.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;
use std::time::Instant;

use dekhand::backend::pkcs11::ipc::call::Call;
use dekhand::backend::pkcs11::ipc::frame;
use dekhand::backend::pkcs11::ipc::message::FromWorker;
use dekhand::backend::pkcs11::ipc::message::Outcome;
use dekhand::backend::pkcs11::ipc::message::ToSpawner;
use dekhand::backend::pkcs11::ipc::message::ToWorker;
use dekhand::hardening;
use dekhand::hardening::HardeningOptions;
use dekhand::hardening::LockMemory;
use dekhand::root_key::id::KeyId;
use dekhand::token::options::Pkcs11Options;
use dekhand::token::pin::PinSource;
use dekhand::token::variable::EnvironmentVariable;
use dekhand::token::variable::VariableValue;
use rustix::io::Errno;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use serde_json::json;

use crate::control::Control;
use crate::control::pid;
use crate::control::read;
use crate::control::write;
use support::daemon::Daemon;
use support::daemon::wait_for;
use support::processes::children;
use support::processes::lives;
use support::processes::spawner;
use support::processes::worker;
use support::token_node::Node;

/// A number that no daemon has reached.
const OURS: u64 = 1 << 40;
/// Start requests in a storm.
const STORM: usize = 10_000;
/// The interval of the spawner's starts, after the first few.
const PACE: Duration = Duration::from_millis(250);
const FIRST_FEW: u128 = 8;

const SKIPPED: &str = "skipped: only root takes a descriptor out of another process";

/// A daemon that serves, and its control socket. Nothing without root's capabilities, which are needed to take the
/// socket.
fn hijacked(node: &Node) -> Option<(Daemon, Control)> {
    let daemon = node.start();
    // There is one, and it has started its work.
    worker(&daemon);
    let control = Control::of(&daemon)?;
    Some((daemon, control))
}

/// The environments of all workers of a daemon, as text.
fn environments(daemon: &Daemon) -> String {
    let processes = children(spawner(daemon));
    let read = |process: &u32| std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
    let all: Vec<u8> = processes.iter().flat_map(read).collect();
    String::from_utf8_lossy(&all).into_owned()
}

/// Waits until a worker has started on this channel or was refused. Returns the build in a started worker's hello.
fn build_of(channel: &UnixStream) -> Option<String> {
    write(channel, &other_assignment("", b""));
    match read(channel) {
        Some(FromWorker::Hello { build, .. }) => Some(build),
        Some(FromWorker::NotStarted(_)) | None => None,
        Some(_) => panic!("neither a start nor a refusal"),
    }
}

/// A message to a worker that gives it another assignment. There is no call of that number; the worker ends.
fn other_assignment<'a>(build: &'a str, assignment: &'a [u8]) -> ToWorker<(u32, &'a str, &'a [u8])> {
    let call = (100, build, assignment);
    ToWorker { number: 0, call }
}

/// The assignment that an attacker would like a worker to have: the daemon's own, with the right to change versions.
fn of_an_admin(node: &Node) -> Vec<u8> {
    let mut options = Pkcs11Options::new(token_shim::path(), "kube".parse().unwrap());
    options.pin = Some(PinSource::File(node.path("pin")));
    let environment = node.token.environment().into_iter();
    options.environment = environment
        .map(|(name, value)| EnvironmentVariable {
            name: name.to_owned(),
            value: VariableValue::Text(value.display().to_string()),
        })
        .collect();
    let assignment = json!({
        "role": "Admin",
        "root_key": "test",
        "options": options,
        "state": null,
        "memory": 512 << 20,
        "lock_memory": "off",
    });
    serde_json::to_vec(&assignment).unwrap()
}

/// Opens the token and tries to destroy a version of it. Returns whether the worker has done that.
fn destroys(channel: &UnixStream, id: &KeyId) -> bool {
    for (number, call) in (1..).zip([Call::Open, Call::Destroy { id: id.clone() }]) {
        write(channel, &ToWorker { number, call });
    }
    loop {
        match read(channel) {
            None => return false,
            Some(FromWorker::Answer(answer)) if answer.number == 2 => {
                return matches!(answer.result, Ok(Outcome::Done));
            }
            Some(_) => {}
        }
    }
}

/// The ids of the versions in a node's token.
fn ids(node: &Node) -> Vec<String> {
    let listed = node.keys(&["list"]);
    let versions = listed["root_keys"][0]["versions"]
        .as_array()
        .unwrap_or_else(|| panic!("{listed}"));
    versions
        .iter()
        .map(|version| version["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn the_control_socket_puts_no_variable_into_a_workers_environment() {
    let node = Node::new();
    let Some((daemon, control)) = hijacked(&node) else {
        println!("{SKIPPED}");
        return;
    };
    let _channel = control.start(OURS, 0);
    wait_for("a second worker", || {
        let workers = children(spawner(&daemon));
        workers.len() == 2 && workers.into_iter().all(has_begun)
    });
    let all = environments(&daemon);
    assert!(!all.contains("LD_PRELOAD"), "{all}");
    assert_eq!(
        all.matches("SOFTHSM2_CONF=").count(),
        2,
        "the list's own variables: {all}"
    );
    // A start that continues with a variable is no message: the spawner ends, and starts nothing.
    let start = ToSpawner::Start {
        worker: OURS + 1,
        index: 0,
    };
    let (spawner, channel) = (
        spawner(&daemon),
        control.start_with(&(start, [("LD_PRELOAD", "/nowhere/evil.so")])),
    );
    assert!(read(&channel).is_none());
    wait_for("the spawner's end", || !lives(spawner));
}

/// Whether a worker has taken its name: until then it may be a copy of its spawner.
fn has_begun(process: u32) -> bool {
    std::fs::read_to_string(format!("/proc/{process}/comm")).is_ok_and(|name| name == "dekhand-worker\n")
}

#[test]
fn an_index_that_is_not_in_the_list_starts_nothing() {
    let node = Node::new();
    let Some((daemon, control)) = hijacked(&node) else {
        println!("{SKIPPED}");
        return;
    };
    for (number, index) in (OURS..).zip([1, 2, u32::MAX]) {
        let channel = control.start(number, index);
        assert_eq!(build_of(&channel), None, "a worker of index {index}");
    }
    assert_eq!(children(spawner(&daemon)).len(), 1);
    assert!(node.status().status.success());
}

#[test]
fn nobody_makes_a_worker_of_the_daemon_one_that_changes_versions() {
    let node = Node::new();
    let before = ids(&node);
    let id = before[0].parse().unwrap();
    let Some((daemon, control)) = hijacked(&node) else {
        println!("{SKIPPED}");
        return;
    };
    let build = build_of(&control.start(OURS, 0)).unwrap();

    // A worker that is sent another assignment on its channel, with everything that this needs.
    let told = control.start(OURS + 1, 0);
    write(&told, &other_assignment(&build, &of_an_admin(&node)));
    assert!(!destroys(&told, &id));
    wait_for("it has ended", || children(spawner(&daemon)).len() == 1);

    // A worker without one, which is sent a call that only an admin's worker makes.
    assert!(!destroys(&control.start(OURS + 2, 0), &id));
    assert_eq!(ids(&node), before);
}

#[test]
fn a_storm_of_start_requests_starts_few_workers() {
    let node = Node::new();
    let Some((daemon, control)) = hijacked(&node) else {
        println!("{SKIPPED}");
        return;
    };
    let refused = storm(&control, OURS, false);
    let crew = children(spawner(&daemon)).len();
    assert!(crew <= 2, "{crew} workers at once, {refused} of {STORM} refused");
    // A killed worker always leaves room for the next one.
    let begin = Instant::now();
    let started = STORM - storm(&control, 2 * OURS, true);
    let most = FIRST_FEW + 1 + begin.elapsed().as_millis() / PACE.as_millis();
    assert!(u128::try_from(started).unwrap() <= most, "{started} started, of {most}");
}

/// Requests many workers, and kills each at once or not. Returns the number of refusals.
fn storm(control: &Control, first: u64, kill: bool) -> usize {
    /// There are not enough descriptors for a channel for each at once.
    const AT_ONCE: usize = 100;
    let mut refused = 0;
    let numbers: Vec<u64> = (first..).take(STORM).collect();
    for numbers in numbers.chunks(AT_ONCE) {
        let ask = |worker: &u64| {
            let (ours, theirs) = UnixStream::pair().unwrap();
            ours.set_nonblocking(true).unwrap();
            let start = ToSpawner::Start {
                worker: *worker,
                index: 0,
            };
            control.say(&start, Some(&theirs));
            if kill {
                control.kill(*worker);
            }
            ours
        };
        let channels: Vec<_> = numbers.iter().map(ask).collect();
        // Earlier messages are answered first.
        build_of(&control.start(first - 1, 0));
        let is_refused = |channel: &UnixStream| matches!(frame::read(channel), Ok(FromWorker::NotStarted(_)));
        refused += channels.iter().filter(|channel| is_refused(channel)).count();
    }
    refused
}

/// The variable with the child's task, and the child's output.
const TARGETS: &str = "DEKHAND_TEST_TARGETS";

#[test]
fn what_the_daemon_has_given_up_is_kept_from_it() {
    let node = Node::new();
    let daemon = node.start();
    let (spawner, worker) = (spawner(&daemon), worker(&daemon));
    let output = Command::new(std::env::current_exe().unwrap())
        .args([
            "--ignored",
            "--exact",
            "hijacked::as_the_daemon_is",
            "--nocapture",
            "--test-threads=1",
        ])
        .env(TARGETS, format!("{spawner} {worker}"))
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        output.status.success(),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(said.contains("looked into both"), "{said}");
    assert!(lives(spawner) && lives(worker));
}

/// In a process of its own, which gives up the same rights as the daemon, by the daemon's own code. It is not a child
/// of the spawner's parent; to the kernel this makes no difference.
#[test]
#[ignore = "started by the test above"]
fn as_the_daemon_is() {
    let targets = std::env::var(TARGETS).unwrap();
    let targets: Vec<u32> = targets.split(' ').map(|target| target.parse().unwrap()).collect();
    let memory = |target: &u32| {
        File::options()
            .read(true)
            .write(true)
            .open(format!("/proc/{target}/mem"))
    };
    let open = |target: &u32| std::fs::read_link(format!("/proc/{target}/fd/0"));
    let mut is_root = true;
    for target in &targets {
        is_root &= memory(target).is_ok() && open(target).is_ok();
    }
    let options = HardeningOptions {
        lock_memory: LockMemory::Off,
        ..HardeningOptions::default()
    };
    let warnings = hardening::apply(&options).unwrap();
    let has_landlock = warnings.is_empty();
    println!("warnings: {warnings:?}; root: {is_root}");
    for target in &targets {
        if has_landlock {
            for refused in [memory(target).err(), open(target).err()] {
                assert_eq!(refused.unwrap().kind(), ErrorKind::PermissionDenied, "process {target}");
            }
        }
        let pidfd = rustix::process::pidfd_open(pid(*target), PidfdFlags::empty()).unwrap();
        let taken = rustix::process::pidfd_getfd(&pidfd, 0, PidfdGetfdFlags::empty());
        assert_eq!(taken.unwrap_err(), Errno::PERM);
    }
    println!("looked into both");
    let program = Command::new("/bin/true").spawn().unwrap_err();
    assert_eq!(program.raw_os_error(), Some(libc::EPERM), "{program}");
    for call in [libc::SYS_execve, 520, 521, 539, 540, 545] {
        assert_eq!(x32(call), Some(libc::EPERM), "call {call} as x32 has it");
    }
}

/// The error of a system call by its number in x32's table.
#[expect(unsafe_code, reason = "nothing but a raw call has such a number")]
fn x32(call: i64) -> Option<i32> {
    const X32: i64 = 0x4000_0000;
    // SAFETY: null is no path, no vector and no buffer, so no call does anything to this process.
    unsafe { libc::syscall(X32 | call, 0, 0, 0, 0, 0, 0) };
    std::io::Error::last_os_error().raw_os_error()
}
