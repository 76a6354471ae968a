//! Keys that an attacker puts into the token without its PIN: none counts, and none replaces one that does.

use rustix::process::Pid;
use rustix::process::Signal;
use serde_json::Value;
use token_shim::token::Token;
use tonic::Code;

use support::calls::Kms;
use support::calls::stock;
use support::calls::stop;
use support::calls::until;
use support::calls::until_logged;
use support::daemon::Daemon;
use support::processes::worker;
use support::processes::workers;
use support::token_node::Node;
use support::token_node::Settings;

pub(super) const QUICK: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 5s", "open_timeout: 5s"],
    lines: &["probe: {interval: 1s}"],
};
pub(super) const PUBLIC: Settings<'_> = Settings {
    pkcs11: &["call_timeout: 5s", "open_timeout: 5s", "private: false"],
    ..QUICK
};
pub(super) const V1: &str = "test.v1@20260101T0000Z";
pub(super) const ID: &str = "00112233445566778899aabbccddeeff";

/// A token's treatment of `CKA_PRIVATE` in the template of a search.
pub(super) const SEARCHES: [&str; 3] = ["", "search-ignores CKA_PRIVATE", "search-refuses CKA_PRIVATE"];

pub(super) fn first_version(node: &Node) -> Value {
    node.keys(&["list"])["root_keys"][0]["versions"][0].clone()
}

/// Waits until the daemon has listed the versions once more.
pub(super) async fn until_listed_again(node: &Node) {
    let finds = || node.token.calls("C_FindObjectsInit");
    let before = finds();
    until("two more lists", || finds() >= before + 4).await;
}

/// Kills the worker, and waits for its successor.
pub(super) async fn kill_worker(daemon: &Daemon) {
    let before = worker(daemon);
    let pid = Pid::from_raw(i32::try_from(before).unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::KILL).unwrap();
    until("another worker", || workers(daemon).iter().any(|now| *now != before)).await;
}

#[tokio::test]
async fn a_public_key_of_our_label_never_becomes_primary() {
    for control in SEARCHES {
        let node = Node::with(QUICK);
        node.token.set(control);
        let daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        let key_id = kms.status().await.unwrap();
        node.token.plant("test.v2@20260101T0000Z", ID, 7);
        until_logged(&daemon, "its key is a public object").await;
        until_listed_again(&node).await;
        assert_eq!(kms.status().await.unwrap(), key_id, "{control}");
        assert_eq!(kms.encrypt().await.unwrap().key_id, key_id, "{control}");
        assert_eq!(stop(daemon).await.0, Some(0));
        // Nor for a daemon that finds it at its start.
        let _daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        assert_eq!(kms.status().await.unwrap(), key_id, "{control}");
    }
}

#[tokio::test]
async fn a_public_version_that_is_gone_again_stops_no_node() {
    let node = Node::with(QUICK);
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    let key_id = kms.status().await.unwrap();
    node.token.plant("test.v9999@20260101T0000Z", ID, 7);
    until_listed_again(&node).await;
    node.token.uproot(ID);
    until_listed_again(&node).await;
    assert_eq!(kms.status().await.unwrap(), key_id);
    assert_eq!(stop(daemon).await.0, Some(0));
    let _daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    assert_eq!(kms.status().await.unwrap(), key_id);
}

#[tokio::test]
async fn a_public_twin_makes_no_version_missing() {
    for control in SEARCHES {
        let node = Node::with(QUICK);
        let v1 = first_version(&node);
        let stock = stock(&node, QUICK, 2).await;
        let daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        node.token.set(control);
        let (label, id) = (v1["label"].as_str().unwrap(), v1["id"].as_str().unwrap());
        node.token.plant(label, id, 7);
        until_listed_again(&node).await;
        // A worker that has found v1 before would not report it missing by itself.
        kill_worker(&daemon).await;
        kms.until_open(&stock[0]).await;
        until_listed_again(&node).await;
        assert_eq!(kms.status().await.unwrap(), id, "{control}");
        assert_eq!(stop(daemon).await.0, Some(0));
        let daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        assert_eq!(kms.status().await.unwrap(), id, "{control}");
        kms.decrypt(&stock[1]).await.unwrap();
        drop(daemon);
    }
}

#[tokio::test]
async fn a_public_key_of_a_listed_id_does_not_count() {
    for control in SEARCHES {
        let node = Node::with(QUICK);
        let v1 = first_version(&node);
        let id = v1["id"].as_str().unwrap();
        let line = format!(
            "versions: [{{id: \"{id}\", number: 1, activates: 2026-01-01T00:00:00Z}}, \
             {{id: \"{ID}\", number: 2, activates: 2026-01-02T00:00:00Z}}]"
        );
        let pkcs11 = &["call_timeout: 5s", "open_timeout: 5s", line.as_str()];
        node.configure(Settings { pkcs11, ..QUICK });
        node.token.set(control);
        node.token.plant("any", ID, 7);
        node.token.plant("any", id, 7);
        let daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        until_listed_again(&node).await;
        assert_eq!(kms.status().await.unwrap(), id, "{control}");
        until_logged(&daemon, "its key is a public object").await;
    }
}

#[tokio::test]
async fn a_key_that_is_exchanged_is_a_refusal_until_the_right_one_is_back() {
    let node = Node::on(&Token::new().into(), PUBLIC);
    node.token.plant(V1, ID, 1);
    let stock = stock(&node, PUBLIC, 2).await;
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    node.token.exchange(V1, ID, 2);
    kms.until_status("a refusal", |status| status == Err(Code::FailedPrecondition))
        .await;
    assert_eq!(kms.encrypt().await.unwrap_err().code(), Code::FailedPrecondition);
    for part in ["holds another key under the id", "dekhand keys accept-loss"] {
        until_logged(&daemon, part).await;
    }
    // Neither a fresh worker nor a fresh daemon forgets it.
    kill_worker(&daemon).await;
    until_listed_again(&node).await;
    assert_eq!(kms.status().await.unwrap_err().code(), Code::FailedPrecondition);
    assert!(!daemon.log().contains("works again"), "{}", daemon.log());
    drop(kms);
    assert_eq!(stop(daemon).await.0, Some(0));
    let daemon = node.spawn();
    let kms = Kms::when_open(&node.socket()).await;
    kms.until_status("a refusal", |status| status == Err(Code::FailedPrecondition))
        .await;
    until_listed_again(&node).await;
    assert_eq!(
        kms.decrypt(&stock[0]).await.unwrap_err().code(),
        Code::FailedPrecondition
    );
    let said = node.command(&["keys", "list"]);
    let said = String::from_utf8(said.stderr).unwrap();
    assert!(said.contains("not the key that this node has used"), "{said}");

    node.token.exchange(V1, ID, 1);
    kms.until_status("well again", |status| status == Ok(ID)).await;
    for sealed in &stock {
        kms.until_open(sealed).await;
    }
    drop(daemon);
}

#[tokio::test]
async fn accept_loss_takes_the_key_that_was_exchanged() {
    let node = Node::on(&Token::new().into(), PUBLIC);
    node.token.plant(V1, ID, 1);
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    let refused = node.command(&["keys", "accept-loss", ID, "--confirm", "test.v1"]);
    let said = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(5), "{said}");
    assert!(said.contains("is not lost"), "{said}");
    node.token.exchange(V1, ID, 2);
    kms.until_status("a refusal", |status| status == Err(Code::FailedPrecondition))
        .await;
    node.keys(&["accept-loss", ID, "--confirm", "test.v1"]);
    kms.until_status("the new key is taken", |status| status == Ok(ID))
        .await;
    kms.encrypt().await.unwrap();
    // It is the accepted key from now on.
    node.token.exchange(V1, ID, 3);
    kms.until_status("a refusal", |status| status == Err(Code::FailedPrecondition))
        .await;
    drop(daemon);
}

#[tokio::test]
async fn a_damaged_proof_record_is_a_refusal_that_says_what_to_do() {
    let node = Node::with(QUICK);
    assert_eq!(stop(node.start()).await.0, Some(0));
    let path = node.path("state").join("proofs.json");
    let good = std::fs::read(&path).unwrap();
    for content in ["", "{", "{\"apiVersion\": \"dekhand/proofs/v9\", \"rootKeys\": []}"] {
        std::fs::write(&path, content).unwrap();
        let daemon = node.spawn();
        let kms = Kms::when_open(&node.socket()).await;
        kms.until_status("a refusal", |status| {
            status == Err(Code::FailedPrecondition) || status == Err(Code::Unavailable)
        })
        .await;
        until_logged(&daemon, "proofs.json").await;
        std::fs::write(&path, &good).unwrap();
        kms.until_status("well again", |status| status.is_ok()).await;
        drop(kms);
        assert_eq!(stop(daemon).await.0, Some(0));
    }
}

#[tokio::test]
async fn a_token_in_trouble_is_away_and_its_key_no_other() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 1).await;
    node.token.set("C_Encrypt,C_Decrypt fail 0x5");
    let daemon = node.spawn();
    let kms = Kms::when_open(&node.socket()).await;
    until_logged(&daemon, "CKR_GENERAL_ERROR").await;
    assert_eq!(kms.status().await.unwrap_err().code(), Code::Unavailable);
    assert!(!daemon.log().contains("another key"), "{}", daemon.log());
    node.token.set("");
    kms.until_open(&stock[0]).await;
    kms.until_status("well again", |status| status.is_ok()).await;
    assert!(!daemon.log().contains("another key"), "{}", daemon.log());
}

#[tokio::test]
async fn a_key_that_wants_its_pin_at_each_use_is_refused_in_one_sentence_without_more_logins() {
    let settings = Settings {
        pkcs11: &["mechanism: rsa-oaep-sha256", "call_timeout: 5s", "open_timeout: 5s"],
        ..Settings::default()
    };
    let node = Node::on(&Token::new().into(), settings);
    let label = [
        "--label",
        "test.v1@20260101T0000Z",
        "--id",
        "00112233445566778899aabbccddeeff",
    ];
    node.token.make_pair_by_hand(&[&label[..], &["--always-auth"]].concat());
    let probe = node.command(&["token", "probe"]);
    let said = String::from_utf8_lossy(&probe.stderr).into_owned() + &String::from_utf8_lossy(&probe.stdout);
    assert!(said.contains("CKA_ALWAYS_AUTHENTICATE"), "{said}");
    let daemon = node.spawn();
    until_logged(&daemon, "CKA_ALWAYS_AUTHENTICATE").await;
    node.token.forget_calls();
    until("the versions were listed a few times", || {
        node.token.calls("C_FindObjectsInit") > 6
    })
    .await;
    assert_eq!(node.token.calls("C_Login"), 0, "{}", daemon.log());
}
