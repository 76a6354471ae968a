//! The daemon has no module, no PIN and no right to start programs; daemon and worker keep their memory from swap.

use std::fs::File;
use std::fs::Permissions;
use std::os::unix::fs::FileExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use rustix::process::Signal;
use rustix::thread::CapabilitySet;
use token_shim::token::Token;

use support::calls::Kms;
use support::calls::stock;
use support::calls::until;
use support::daemon::Daemon;
use support::daemon::wait_for;
use support::processes::send;
use support::processes::spawner;
use support::processes::worker;
use support::processes::workers;
use support::token_node::Node;
use support::token_node::Settings;

/// No other process has this in its memory by chance.
const LONG_PIN: &str = "pin-kept-from-the-daemon-5b1d77";

/// A node whose token has a PIN that can be searched for in memory.
fn node_with_a_long_pin() -> Node {
    let token = Token::blank();
    let arguments = [
        "--init-token",
        "--free",
        "--label",
        "kube",
        "--so-pin",
        "5678",
        "--pin",
        LONG_PIN,
    ];
    let made = Command::new("softhsm2-util")
        .args(arguments)
        .envs(token.environment())
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
    let node = Node::on(&token.into(), Settings::default());
    node.set_pin(LONG_PIN);
    node.keys(&["create"]);
    node
}

/// The mappings and open files of a process that belong to the token; `None` if the kernel denies access.
fn of_the_module(process: u32) -> Option<Vec<String>> {
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let descriptors = Path::new(&format!("/proc/{process}/fd")).read_dir().ok()?;
    let open = descriptors.filter_map(|entry| std::fs::read_link(entry.unwrap().path()).ok());
    let names = open
        .map(|path| path.display().to_string())
        .chain(maps.lines().map(str::to_owned));
    Some(
        names
            .filter(|name| name.contains("token_shim") || name.contains("softhsm") || name.ends_with("/calls"))
            .collect(),
    )
}

/// The number of occurrences of a text in the memory of a process; `None` if the kernel denies access.
fn in_memory(process: u32, text: &[u8]) -> Option<usize> {
    let memory = File::open(format!("/proc/{process}/mem")).ok()?;
    let maps = std::fs::read_to_string(format!("/proc/{process}/maps")).ok()?;
    let mut found = 0;
    for line in maps.lines() {
        let mut words = line.split_whitespace();
        let (range, rights) = (words.next()?, words.next()?);
        let (from, to) = range.split_once('-')?;
        let from = u64::from_str_radix(from, 16).ok()?;
        let to = u64::from_str_radix(to, 16).ok()?;
        if !rights.starts_with('r') || line.ends_with("[vvar]") || line.ends_with("[vsyscall]") {
            continue;
        }
        let mut bytes = vec![0; usize::try_from(to - from).ok()?];
        if memory.read_exact_at(&mut bytes, from).is_ok() {
            found += bytes.windows(text.len()).filter(|window| window == &text).count();
        }
    }
    Some(found)
}

#[tokio::test]
async fn the_daemon_has_neither_the_module_nor_the_pin_and_starts_no_programs() {
    let node = node_with_a_long_pin();
    let stock = stock(&node, Settings::default(), 1).await;
    let daemon = node.start();
    Kms::connect(&node.socket()).await.decrypt(&stock[0]).await.unwrap();
    let (daemon_id, spawner, worker) = (daemon.child.id(), spawner(&daemon), worker(&daemon));

    let status = std::fs::read_to_string(format!("/proc/{daemon_id}/status")).unwrap();
    assert!(
        status.contains("NoNewPrivs:\t1") && status.contains("Seccomp:\t2"),
        "{status}"
    );
    let status = std::fs::read_to_string(format!("/proc/{worker}/status")).unwrap();
    assert!(
        status.contains("Seccomp:\t0"),
        "a vendor's module does what it must: {status}"
    );

    // All three are not dumpable: without root's capabilities their memory cannot be read.
    let Some(of_worker) = of_the_module(worker) else {
        return;
    };
    assert!(
        of_worker.iter().any(|name| name.contains("token_shim")),
        "{of_worker:?}"
    );
    for process in [daemon_id, spawner] {
        assert_eq!(of_the_module(process), Some(Vec::new()));
    }
    let Some(known) = in_memory(daemon_id, node.path("pin").as_os_str().as_encoded_bytes()) else {
        return;
    };
    assert!(known > 0, "the search finds what the daemon has: where the PIN is");
    // The worker had it while it logged in.
    for process in [daemon_id, spawner, worker] {
        assert_eq!(in_memory(process, LONG_PIN.as_bytes()), Some(0));
    }
}

/// The locked memory of a process.
fn locked(process: u32) -> String {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmLck:")).unwrap();
    line.trim().to_owned()
}

#[test]
fn the_memory_of_daemon_and_worker_is_locked() {
    let node = Node::new();
    let daemon = node.start();
    let (spawner, worker) = (spawner(&daemon), worker(&daemon));
    if locked(daemon.child.id()) == "0 kB" {
        assert!(daemon.log().contains("memory may be swapped"), "{}", daemon.log());
        println!("skipped: nothing may be locked here");
        return;
    }
    assert_ne!(locked(worker), "0 kB");
    assert_eq!(locked(spawner), "0 kB", "no secret is in it");
    send(worker, Signal::KILL);
    wait_for("another worker", || {
        workers(&daemon).first().is_some_and(|next| *next != worker)
    });
    wait_for("its memory is locked", || {
        workers(&daemon).first().is_some_and(|worker| locked(*worker) != "0 kB")
    });
}

/// A command with almost no limit for locked memory left.
fn limited(arguments: &[&str]) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", "ulimit -l 64; exec \"$0\" \"$@\"", env!("CARGO_BIN_EXE_dekhand")]);
    command.args(arguments);
    command
}

/// Starts a program without the right to exceed its limit for locked memory, even as root.
fn without_the_right<T: Send>(start: impl FnOnce() -> T + Send) -> T {
    let start = || {
        let right = CapabilitySet::IPC_LOCK;
        if rustix::thread::capabilities(None).unwrap().effective.contains(right) {
            // For this thread, and for the processes that it starts.
            rustix::thread::remove_capability_from_bounding_set(right).unwrap();
        }
        start()
    };
    std::thread::scope(|scope| scope.spawn(start).join().unwrap())
}

fn lock_memory(how: &str) -> Node {
    let node = Node::new();
    let line = format!("hardening: {{lock_memory: {how}}}");
    let lines = &[line.as_str()];
    node.configure(Settings {
        lines,
        ..Settings::default()
    });
    node.token.forget_calls();
    node
}

#[test]
fn where_memory_must_be_locked_and_cannot_be_neither_daemon_nor_command_has_a_worker() {
    let node = lock_memory("require");
    for arguments in [
        &["serve"][..],
        &["keys", "list"],
        &["keys", "rotate"],
        &["token", "list"],
    ] {
        let mut command = limited(&[arguments, &["--config", &node.config()]].concat());
        let output = without_the_right(|| command.output().unwrap());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && said.contains("cannot keep memory from swap"),
            "{arguments:?}: {said}"
        );
    }
    assert!(node.token.record().is_empty(), "no module was loaded");
}

#[test]
fn where_memory_can_not_be_locked_there_is_one_warning_of_the_daemon_and_one_of_its_workers() {
    let node = lock_memory("try");
    let command = limited(&["serve", "--config", &node.config(), "--log-format", "json"]);
    let daemon = without_the_right(|| Daemon::of(command));
    wait_for("the daemon serves", || node.status().status.success());
    let first = worker(&daemon);
    send(first, Signal::KILL);
    wait_for("another one serves", || {
        daemon.log().contains("can be used again") && !workers(&daemon).contains(&first)
    });
    let log = daemon.log();
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains("memory may be swapped"))
        .collect();
    let of_workers = warnings
        .iter()
        .filter(|line| line.contains("of the token worker"))
        .count();
    assert_eq!((warnings.len(), of_workers), (2, 1), "{log}");
}

#[test]
fn a_module_that_other_users_can_replace_is_reported_once() {
    let node = Node::new();
    let directory = node.path("modules");
    std::fs::create_dir(&directory).unwrap();
    std::fs::set_permissions(&directory, Permissions::from_mode(0o777)).unwrap();
    let module = directory.join("module.so");
    std::fs::copy(token_shim::path(), &module).unwrap();
    let text = std::fs::read_to_string(node.path("config.yaml")).unwrap();
    let text = text.replace(token_shim::path().to_str().unwrap(), module.to_str().unwrap());
    std::fs::write(node.path("config.yaml"), text).unwrap();
    let daemon = node.start();
    let first = worker(&daemon);
    send(first, Signal::KILL);
    wait_for("another worker serves", || {
        daemon.log().contains("can be used again") && !workers(&daemon).contains(&first)
    });
    let log = daemon.log();
    let warnings: Vec<_> = log
        .lines()
        .filter(|line| line.contains("may be able to replace"))
        .collect();
    assert_eq!(warnings.len(), 1, "{log}");
    assert!(
        warnings[0].contains("mode 0777") && warnings[0].contains("chmod go-w"),
        "{warnings:?}"
    );
}

#[tokio::test]
async fn of_a_keyrings_file_the_daemon_keeps_the_key_and_wipes_the_text_that_it_has_read() {
    let node = support::keyring_node::Node::new();
    let keyring = std::fs::read_to_string(node.path("keyring.json")).unwrap();
    let keyring: serde_json::Value = serde_json::from_str(&keyring).unwrap();
    let hex = keyring["versions"][0]["key"].as_str().unwrap();
    let byte = |digits: &[u8]| u8::from_str_radix(str::from_utf8(digits).unwrap(), 16).unwrap();
    let key: Vec<u8> = hex.as_bytes().chunks(2).map(byte).collect();
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    for _ in 0..10 {
        let sealed = kms.encrypt().await.unwrap();
        kms.decrypt(&sealed).await.unwrap();
        // Reads the file again.
        daemon.signal(Signal::HUP);
    }
    until("the file was read again", || daemon.log().matches("SIGHUP").count() > 1).await;
    kms.status().await.unwrap();
    if in_memory(daemon.child.id(), &key).is_none() {
        return;
    }
    // While the file is read again, the text is there.
    until("nothing of the text is left, and the search finds the key", || {
        in_memory(daemon.child.id(), hex.as_bytes()) == Some(0) && in_memory(daemon.child.id(), &key) > Some(0)
    })
    .await;
}
