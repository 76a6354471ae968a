//! The cost of each fault under load, as a table: `cargo test --test faults table -- --nocapture`.

use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use rustix::process::Signal;
use token_shim::token::PIN;
use tokio::task::LocalSet;

use crate::load;
use crate::load::Met;
use crate::load::Pause;
use support::calls::Kms;
use support::calls::stock;
use support::calls::until;
use support::calls::until_proofs_are_made;
use support::daemon::Daemon;
use support::processes::send;
use support::processes::worker;
use support::token_node::Node;
use support::token_node::Settings;

const QUICK: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 1s", "open_timeout: 1s"],
    lines: &["probe: {interval: 1s}", "worker: {memory: 64MiB}"],
};
/// The reads by the token that must succeed before and after a fault.
const WELL: usize = 10;
/// The duration of a fault that must be ended from outside.
const LASTS: Duration = Duration::from_secs(4);

/// A fault, and its end if it does not end by itself.
struct Fault {
    name: &'static str,
    begin: fn(&Node, &Daemon),
    end: Option<fn(&Node)>,
    /// Whether reads that need the token succeed meanwhile.
    read: bool,
}

fn kill_worker(daemon: &Daemon) {
    send(worker(daemon), Signal::KILL);
}

const FAULTS: &[Fault] = &[
    Fault {
        name: "worker killed",
        begin: |_, daemon| kill_worker(daemon),
        end: None,
        read: true,
    },
    Fault {
        name: "module crashes in a call",
        begin: |node, _| node.token.set("C_Decrypt crash times 1"),
        end: None,
        read: true,
    },
    Fault {
        name: "module hangs in a call (call_timeout 1 s)",
        begin: |node, _| node.token.set("C_Decrypt hang times 1"),
        end: None,
        read: true,
    },
    Fault {
        name: "sessions lost",
        begin: |node, _| node.token.set("sessions lost"),
        end: None,
        read: true,
    },
    Fault {
        name: "logged out",
        begin: |node, _| node.token.set("logged out"),
        end: None,
        read: true,
    },
    Fault {
        name: "device error until C_Initialize",
        begin: |node, _| node.token.set("C_Decrypt fail 0x30 times 1"),
        end: None,
        read: true,
    },
    Fault {
        name: "device error until another process",
        begin: |node, _| node.token.set("C_Decrypt fail 0x32 times 2"),
        end: None,
        read: true,
    },
    Fault {
        name: "worker at half of its memory",
        begin: |node, _| node.token.set("C_Decrypt leak 30MiB times 1"),
        end: None,
        read: true,
    },
    Fault {
        name: "module's file replaced, worker killed",
        begin: |node, daemon| {
            std::fs::copy(token_shim::path(), node.path("module.new")).unwrap();
            std::fs::rename(node.path("module.new"), node.path("module.so")).unwrap();
            kill_worker(daemon);
        },
        end: None,
        read: true,
    },
    Fault {
        name: "token gone for 4 s, only keys in memory asked for",
        begin: |node, _| node.token.take_away(),
        end: Some(|node| node.token.put_back()),
        read: false,
    },
    Fault {
        name: "token gone for 4 s",
        begin: |node, _| node.token.take_away(),
        end: Some(|node| node.token.put_back()),
        read: true,
    },
    Fault {
        name: "token hung for 4 s, only keys in memory asked for",
        begin: |node, _| node.token.set("* hang"),
        end: Some(|node| node.token.set("")),
        read: false,
    },
    Fault {
        name: "token hung for 4 s",
        begin: |node, _| node.token.set("* hang"),
        end: Some(|node| node.token.set("")),
        read: true,
    },
    Fault {
        name: "PIN rejected, corrected after 4 s, then reads",
        begin: |node, daemon| {
            node.set_pin("wrong");
            // A command got the rejection, so the daemon does not pause before its attempt.
            node.command(&["keys", "list"]);
            kill_worker(daemon);
        },
        end: Some(|node| node.set_pin(PIN)),
        read: false,
    },
];

/// The cost of a fault.
struct Cost {
    met: Rc<Met>,
    recovery: Duration,
    status: Duration,
}

async fn measure(fault: &Fault) -> Cost {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 400).await;
    std::fs::copy(token_shim::path(), node.path("module.so")).unwrap();
    let config = std::fs::read_to_string(node.config()).unwrap();
    let module = token_shim::path().display().to_string();
    let own = node.path("module.so").display().to_string();
    std::fs::write(node.config(), config.replace(&module, &own)).unwrap();
    let (daemon, node) = (Arc::new(node.start()), Arc::new(node));
    let kms = Kms::connect(&node.socket()).await;
    let sealed = kms.encrypt().await.unwrap();
    until_proofs_are_made(&node).await;

    let (met, pause) = (Rc::new(Met::default()), Rc::new(Pause::default()));
    let in_memory = load::in_memory(kms.clone(), sealed, met.clone());
    let from_token = load::from_token(kms.clone(), stock, pause.clone(), met.clone());
    let loads = [
        tokio::task::spawn_local(in_memory),
        tokio::task::spawn_local(from_token),
    ];
    until("the load goes well", || met.answered() >= WELL).await;
    if !fault.read {
        // A read that is in flight at the fault is refused, and then the node reports the outage, as it should.
        pause.begin().await;
    }
    let (begin, at, of) = (fault.begin, node.clone(), daemon.clone());
    // A command of seconds in this thread would hold up the load, and count as a slow Status.
    tokio::task::spawn_blocking(move || begin(&at, &of)).await.unwrap();
    if let Some(end) = fault.end {
        tokio::time::sleep(LASTS).await;
        end(&node);
    }
    if !fault.read {
        assert_eq!((met.writes.get(), met.statuses.get()), (0, 0), "{}", fault.name);
    }
    let over = Instant::now();
    pause.end();
    until("the token answers again", || met.answered_after(over).is_some()).await;
    let recovery = met.answered_after(over).unwrap();
    kms.until_status("ok", |status| status.is_ok()).await;
    let status = over.elapsed();
    let answered = met.answered();
    until("the load goes well again", || met.answered() >= answered + WELL).await;
    for load in loads {
        assert!(!load.is_finished(), "{}: it was not under load to the end", fault.name);
        load.abort();
    }
    Cost { met, recovery, status }
}

#[tokio::test]
async fn a_table_of_faults_and_what_each_costs() {
    println!(
        "| {:<50} | calls | cached reads | writes | Status | reads of other keys | token call after | Status ok after |",
        "failed calls under load"
    );
    println!(
        "|{:-<52}|-------|--------------|--------|--------|---------------------|------------------|-----------------|",
        ""
    );
    for fault in FAULTS {
        let Cost { met, recovery, status } = LocalSet::new().run_until(measure(fault)).await;
        println!(
            "| {:<50} | {:>5} | {:>12} | {:>6} | {:>6} | {:>19} | {:>13} ms | {:>12} ms |",
            fault.name,
            met.calls.get(),
            met.cached_reads.get(),
            met.writes.get(),
            met.statuses.get(),
            met.token_reads.get(),
            recovery.as_millis(),
            status.as_millis()
        );
        assert_eq!(met.cached_reads.get(), 0, "{}", fault.name);
    }
}
