//! What the daemon does not have: the module, the PIN, the right to start programs.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::process::Command;

use token_shim::token::Token;

use crate::calls::Kms;
use crate::calls::stock;
use crate::node::Node;
use crate::node::Settings;
use crate::processes::spawner;
use crate::processes::worker;

/// Nobody else's memory holds this by chance.
const LONG_PIN: &str = "pin-kept-from-the-daemon-5b1d77";

/// A node whose token has a PIN that can be searched for.
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

/// What a process has mapped or open of the token's world; `None` where the kernel does not tell us.
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

/// How often a text is in the memory of a process; `None` where we may not look.
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

    // All three are not dumpable: without the rights of root there is nothing to be seen.
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
    for process in [daemon_id, spawner] {
        assert_eq!(in_memory(process, LONG_PIN.as_bytes()), Some(0));
    }
}
