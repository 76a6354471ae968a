//! A module that hangs: Status answers, requests end at their own deadline, and no processes, threads or calls are left
//! behind.

use std::time::Duration;
use std::time::Instant;

use futures_util::StreamExt as _;
use futures_util::stream;
use tonic::Code;

use support::calls::Kms;
use support::calls::stock;
use support::calls::until;
use support::calls::until_proofs_are_made;
use support::daemon::HANG;
use support::processes::Holds;
use support::processes::holds;
use support::processes::lives;
use support::processes::spawner;
use support::processes::worker;
use support::processes::workers;
use support::token_node::Node;
use support::token_node::Settings;

const QUICK: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 1s", "open_timeout: 1s"],
    lines: &["probe: {interval: 1s}"],
};

/// The deadline of a request in these tests; the worker is killed later.
const DEADLINE: Duration = Duration::from_millis(300);
/// Far more than a busy machine adds to that.
const LATE: Duration = Duration::from_secs(10);

/// A Decrypt that cannot be answered ends at its own deadline, or is refused before.
async fn is_refused_in_time(kms: &Kms, sealed: &dekhand::proto::v2::EncryptResponse) -> Code {
    let begin = Instant::now();
    let refused = kms.decrypt_within(DEADLINE, sealed).await.unwrap_err();
    let took = begin.elapsed();
    assert!(took < LATE, "it took {took:?}");
    let code = refused.code();
    assert!(
        matches!(
            code,
            Code::DeadlineExceeded | Code::Unavailable | Code::ResourceExhausted
        ),
        "{refused:?}"
    );
    code
}

#[tokio::test]
async fn with_any_function_hung_status_answers_and_requests_end_at_their_deadline() {
    for fault in ["C_Decrypt hang", "* hang"] {
        let node = Node::with(QUICK);
        let stock = stock(&node, QUICK, 20).await;
        let daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        let sealed = kms.encrypt().await.unwrap();
        let key_id = kms.status().await.unwrap();
        let first = worker(&daemon);
        node.token.set(fault);
        for old in &stock {
            is_refused_in_time(&kms, old).await;
            // Each answers within a second, or fails the test.
            drop(kms.status().await);
            kms.decrypt(&sealed).await.unwrap();
        }
        until("the hung worker is replaced", || !lives(first)).await;
        node.token.set("");
        for old in &stock {
            kms.until_open(old).await;
        }
        kms.until_status("all is well", |status| status == Ok(&key_id)).await;
    }
}

#[tokio::test]
async fn a_caller_that_gives_up_does_not_cost_the_others_their_worker() {
    // Without a probe, which would be delayed instead of the read.
    let settings = Settings {
        pkcs11: &["call_timeout: 25s", "open_timeout: 25s"],
        lines: &["probe: {interval: 1h}"],
        ..QUICK
    };
    let node = Node::with(settings);
    let stock = stock(&node, settings, 1).await;
    let daemon = node.start();
    let before = workers(&daemon);
    let kms = Kms::connect(&node.socket()).await;
    until_proofs_are_made(&node).await;
    node.token.set("C_Decrypt delay 1s times 1");
    node.token.forget_calls();
    assert_eq!(is_refused_in_time(&kms, &stock[0]).await, Code::DeadlineExceeded);
    // The call continues, and its result is kept.
    kms.decrypt_within(HANG, &stock[0]).await.unwrap();
    assert_eq!(node.token.calls("C_Decrypt"), 1);
    assert_eq!(workers(&daemon), before);
}

#[tokio::test]
async fn a_thousand_requests_against_a_hung_token_leave_nothing_behind() {
    const REQUESTS: usize = 1000;
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, REQUESTS).await;
    let daemon = node.start();
    let (daemon_id, spawner) = (daemon.child.id(), spawner(&daemon));
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(Kms::connect(&node.socket()).await);
    }
    for connection in &connections {
        connection.encrypt().await.unwrap();
    }
    let before = [holds(daemon_id), holds(spawner)];

    node.token.set("C_Decrypt hang");
    let calls = stock.iter().enumerate().map(|(number, sealed)| {
        let kms = &connections[number % connections.len()];
        is_refused_in_time(kms, sealed)
    });
    let codes: Vec<_> = stream::iter(calls).buffer_unordered(200).collect().await;
    connections[0].status().await.ok();
    let of = |wanted| codes.iter().filter(|code| **code == wanted).count();
    println!(
        "{REQUESTS} Decrypts against a hung token: {} DEADLINE_EXCEEDED, {} UNAVAILABLE, {} RESOURCE_EXHAUSTED",
        of(Code::DeadlineExceeded),
        of(Code::Unavailable),
        of(Code::ResourceExhausted)
    );

    node.token.set("");
    for sealed in stock.iter().step_by(100) {
        connections[0].until_open(sealed).await;
    }
    let holds_now = || [holds(daemon_id), holds(spawner)];
    until("all descriptors and threads are given back", || {
        let counts = |holds: [Holds; 2]| holds.map(|holds| (holds.threads, holds.descriptors));
        counts(holds_now()) == counts(before) && workers(&daemon).len() == 1
    })
    .await;
    let after = holds_now();
    println!("before: daemon {:?}, spawner {:?}", before[0], before[1]);
    println!("after:  daemon {:?}, spawner {:?}", after[0], after[1]);
    for (before, after) in before.iter().zip(&after) {
        // The wrapped keys of the requests may stay in memory; nothing else grows.
        assert!(after.kibibytes < before.kibibytes + 16 * 1024, "{before:?} {after:?}");
    }
}
