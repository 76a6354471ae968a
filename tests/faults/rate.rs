//! The number of calls to the token, as counted by the shim.

use futures_util::future::join_all;

use support::calls::Kms;
use support::calls::stock;
use support::calls::stop;
use support::calls::until;
use support::calls::until_proofs_are_made;
use support::daemon::HANG;
use support::processes::worker;
use support::token_node::Node;
use support::token_node::Settings;

/// No probe happens while calls are counted.
const QUIET: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 5s", "open_timeout: 5s"],
    lines: &["probe: {interval: 1h}"],
};

/// `C_Encrypt` and `C_Decrypt` so far.
fn crypt_calls(node: &Node) -> [usize; 2] {
    ["C_Encrypt", "C_Decrypt"].map(|function| node.token.calls(function))
}

/// Connections for a thousand requests at once; each has room for some hundreds.
async fn connections(node: &Node) -> Vec<Kms> {
    let mut connections = Vec::new();
    for _ in 0..4 {
        connections.push(Kms::connect(&node.socket()).await);
    }
    connections
}

#[tokio::test]
async fn a_herd_of_1000_decrypts_under_10_data_keys_makes_10_token_calls() {
    let node = Node::with(QUIET);
    let stock = stock(&node, QUIET, 10).await;
    let _daemon = node.start();
    let connections = connections(&node).await;
    until_proofs_are_made(&node).await;
    node.token.set("C_Decrypt delay 20ms");
    node.token.forget_calls();
    let herd = (0..1000).map(|number| {
        let kms = &connections[number % connections.len()];
        kms.decrypt_within(HANG, &stock[number % stock.len()])
    });
    for opened in join_all(herd).await {
        opened.unwrap();
    }
    let counted = crypt_calls(&node);
    println!("1000 Decrypts under 10 data keys: {counted:?} C_Encrypt, C_Decrypt");
    assert_eq!(counted, [0, 10]);
}

#[tokio::test]
async fn ten_thousand_encrypts_make_two_token_calls() {
    let lines = &["probe: {interval: 1h}", "data_keys: {max_uses: 10000}"];
    let node = Node::with(Settings { lines, ..QUIET });
    let _daemon = node.start();
    let connections = connections(&node).await;
    until_proofs_are_made(&node).await;
    node.token.forget_calls();
    let mut data_keys = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let herd = (0..100).map(|number| connections[number % connections.len()].encrypt_within(HANG));
        for sealed in join_all(herd).await {
            // The header is the same for all payloads of a data key.
            data_keys.insert(sealed.unwrap().ciphertext[..60].to_vec());
        }
    }
    until("the next data key stands ready", || crypt_calls(&node) == [1, 1]).await;
    let counted = crypt_calls(&node);
    println!(
        "10,000 Encrypts under {} data keys: {counted:?} C_Encrypt, C_Decrypt",
        data_keys.len()
    );
    assert_eq!(counted, [1, 1], "one data key was wrapped and verified");
}

#[tokio::test]
async fn ten_probes_are_ten_unwraps_and_one_wrap_so_an_idle_hour_is_66_calls() {
    let node = Node::with(Settings {
        lines: &["probe: {interval: 1s}"],
        ..QUIET
    });
    let _daemon = node.start();
    until_proofs_are_made(&node).await;
    // From one record, in order: two counts would be taken at two moments.
    let crypts = || {
        let record = node.token.record().into_iter().map(|(_, function)| function);
        record
            .filter(|function| function == "C_Encrypt" || function == "C_Decrypt")
            .collect::<Vec<_>>()
    };
    let before = crypts().len();
    let unwraps = |calls: &[String]| calls.iter().filter(|function| *function == "C_Decrypt").count();
    until("twenty-one probes were made", || unwraps(&crypts()[before..]) >= 21).await;
    let calls = crypts().split_off(before);
    println!("idle, with so many probes as in 20 minutes: {calls:?}");
    // The default is one probe a minute: 60 unwraps and 6 wraps in an hour.
    let between: Vec<_> = calls
        .split(|function| function == "C_Encrypt")
        .map(<[String]>::len)
        .collect();
    assert!(
        between.len() > 2 && between[1..between.len() - 1].iter().all(|unwraps| *unwraps >= 10),
        "ten unwraps from one wrap to the next: {between:?}"
    );
}

#[tokio::test]
async fn token_calls_in_flight_are_as_many_as_there_are_sessions() {
    for (sessions, allowed) in [("sessions: 1", 1), ("sessions: 4", 4)] {
        let settings = Settings {
            pkcs11: &["call_timeout: 5s", "open_timeout: 5s", sessions],
            ..QUIET
        };
        let node = Node::with(settings);
        // The thread that makes proofs has a session of its own.
        let daemon = node.start();
        until_proofs_are_made(&node).await;
        assert_eq!(stop(daemon).await.0, Some(0));
        node.token.forget_most_at_once();
        let stock = stock(&node, settings, 64).await;
        let daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        node.token.set("C_Decrypt delay 20ms");
        for opened in join_all(stock.iter().map(|sealed| kms.decrypt_within(HANG, sealed))).await {
            opened.unwrap();
        }
        assert_eq!(node.token.most_at_once(), allowed, "{sessions}");
        worker(&daemon);
    }
}
