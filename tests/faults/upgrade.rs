//! A node whose root keys an earlier release made: they go on, and get proof records.

use token_shim::token::Token;
use tonic::Code;

use support::calls::Kms;
use support::calls::start_with_http;
use support::calls::stop;
use support::calls::until;
use support::calls::until_logged;
use support::daemon::Daemon;
use support::daemon::page;
use support::token_node::Node;

use crate::objects::ID;
use crate::objects::PUBLIC;
use crate::objects::QUICK;
use crate::objects::SEARCHES;
use crate::objects::V1;
use crate::objects::first_version;
use crate::objects::kill_worker;
use crate::objects::until_listed_again;

/// A node with a public v1 that an earlier release has made its primary: its state directory has no proof record.
fn upgraded(control: &str) -> Node {
    let node = Node::on(&Token::new().into(), PUBLIC);
    node.token.plant(V1, ID, 1);
    node.token.set(control);
    let (code, log) = node.start().stop();
    assert_eq!(code, Some(0), "{log}");
    forget_proofs(&node);
    node.configure(QUICK);
    node
}

/// Turns the state directory into one of an earlier release.
fn forget_proofs(node: &Node) {
    for file in ["proofs.json", "proofs.json.lock"] {
        drop(std::fs::remove_file(node.path("state").join(file)));
    }
    assert!(node.path("state").join("primary").exists());
}

#[tokio::test]
async fn private_keys_of_before_go_on_and_get_proof_records() {
    for control in SEARCHES {
        let node = Node::with(QUICK);
        node.token.set(control);
        assert_eq!(stop(node.start()).await.0, Some(0));
        forget_proofs(&node);
        node.token.plant("test.v0", ID, 7);
        let (daemon, http) = start_with_http(&node);
        let kms = Kms::connect(&node.socket()).await;
        kms.encrypt().await.unwrap();
        let ready = page(http, "/readyz?verbose");
        assert!(!ready.contains("it stays in use"), "{control}: {ready}");
        let proofs = std::fs::read_to_string(node.path("state").join("proofs.json")).unwrap();
        assert!(proofs.contains(&kms.status().await.unwrap()), "{control}: {proofs}");
        assert!(!proofs.contains(ID), "{control}: {proofs}");
        drop(daemon);
    }
}

#[tokio::test]
async fn public_keys_of_before_go_on_and_say_what_to_do_and_no_other_joins_them() {
    let hidden = SEARCHES.into_iter().chain(["hide-attribute CKA_PRIVATE"]);
    for control in hidden {
        let node = upgraded(control);
        // This node has not used a version above its primary, nor another one with the primary's number.
        node.token.plant("test.v9999@20260101T0000Z", "0202020202020202", 5);
        node.token.plant("test.v1@20260102T0000Z", "0404040404040404", 5);
        // A command shows the daemon's later decision, and does not begin the records.
        let list = node.keys(&["list"]);
        assert_eq!(list["root_keys"][0]["versions"].as_array().unwrap().len(), 1, "{list}");
        assert_eq!(list["root_keys"][0]["left_out"].as_array().unwrap().len(), 2, "{list}");
        let (daemon, http) = start_with_http(&node);
        let kms = Kms::connect(&node.socket()).await;
        assert_eq!(kms.status().await.unwrap(), ID, "{control}");
        let sealed = kms.encrypt().await.unwrap();
        let ready = page(http, "/readyz?verbose");
        for part in ["readyz check passed", "private: false", "it stays in use", ID] {
            assert!(ready.contains(part), "{control}: {part}: {ready}");
        }
        let told = |daemon: &Daemon| {
            let log = daemon.log();
            let told = log.lines().find(|line| line.contains("it stays in use"));
            told.is_some_and(|line| line.contains("\"ERROR\""))
        };
        until("it is told as an error", || told(&daemon)).await;
        // Later keys do not count, even with higher numbers.
        node.token.plant("test.v3@20260102T0000Z", "0303030303030303", 6);
        until_listed_again(&node).await;
        assert_eq!(kms.status().await.unwrap(), ID, "{control}");
        drop(kms);
        assert_eq!(stop(daemon).await.0, Some(0));
        let daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        until_listed_again(&node).await;
        assert_eq!(kms.status().await.unwrap(), ID, "{control}");
        kms.decrypt(&sealed).await.unwrap();
        let list = node.keys(&["list"]);
        assert_eq!(list["root_keys"][0]["versions"].as_array().unwrap().len(), 1, "{list}");
        drop(daemon);
    }
}

#[tokio::test]
async fn a_record_that_is_removed_lets_no_key_in_above_the_primary() {
    let node = Node::with(QUICK);
    let v1 = first_version(&node);
    assert_eq!(stop(node.start()).await.0, Some(0));
    node.token.plant("test.v2@20260101T0000Z", ID, 7);
    forget_proofs(&node);
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    until_listed_again(&node).await;
    let key_id = v1["id"].as_str().unwrap();
    assert_eq!(kms.status().await.unwrap(), key_id);
    until_logged(&daemon, "its key is a public object").await;
    drop(daemon);
}

#[tokio::test]
async fn a_root_key_that_only_decrypts_goes_on_with_its_public_keys_of_before() {
    let node = Node::on(&Token::new().into(), PUBLIC);
    node.token.plant("old.v1@20260101T0000Z", ID, 1);
    let config = std::fs::read_to_string(node.path("config.yaml")).unwrap();
    let (before, entry) = config.split_once("root_keys:\n").unwrap();
    let (entry, after) = entry.split_once("probe:").unwrap();
    let named = |name: &str| entry.replace("name: test", &format!("name: {name}"));
    let configure = |entries: &str| {
        let text = format!("{before}root_keys:\n{entries}probe:{after}");
        std::fs::write(node.path("config.yaml"), text).unwrap();
    };
    // Another node seals by the old root key, and has a state directory of its own.
    configure(&named("old"));
    let sealed = {
        let daemon = node.start();
        let sealed = Kms::connect(&node.socket()).await.encrypt().await.unwrap();
        assert_eq!(stop(daemon).await.0, Some(0));
        sealed
    };
    std::fs::remove_dir_all(node.path("state")).unwrap();
    // This node has joined after the change.
    let private = |name: &str| named(name).replace("      private: false\n", "");
    configure(&[private("test"), private("old")].concat());
    node.keys(&["create"]);
    assert_eq!(stop(node.start()).await.0, Some(0));
    forget_proofs(&node);
    for _ in 0..2 {
        let daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        kms.until_open(&sealed).await;
        drop(kms);
        assert_eq!(stop(daemon).await.0, Some(0));
    }
    // A root key that is new on this node has no previous keys.
    node.token.plant("new.v1@20260101T0000Z", "0505050505050505", 5);
    configure(&[private("new"), private("test"), private("old")].concat());
    let list = node.keys(&["list", "--root-key", "new"]);
    assert_eq!(list["root_keys"][0]["versions"].as_array().unwrap().len(), 0, "{list}");
}

/// Starts a node with a public v1 from before the upgrade, exchanges v1 while the node runs, and waits for the refusal.
async fn start_and_exchange(node: &Node) -> (Daemon, Kms) {
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    kms.encrypt().await.unwrap();
    node.token.exchange(V1, ID, 2);
    kms.until_status("a refusal", |status| status == Err(Code::FailedPrecondition))
        .await;
    (daemon, kms)
}

#[tokio::test]
async fn a_public_key_of_before_that_is_exchanged_is_a_refusal() {
    let node = upgraded("");
    let (daemon, kms) = start_and_exchange(&node).await;
    kill_worker(&daemon).await;
    until_listed_again(&node).await;
    assert_eq!(kms.status().await.unwrap_err().code(), Code::FailedPrecondition);
    node.token.exchange(V1, ID, 1);
    kms.until_status("well again", |status| status == Ok(ID)).await;
    drop(daemon);
}

#[tokio::test]
async fn accept_loss_says_that_an_exchanged_public_key_of_before_does_not_count() {
    let node = upgraded("");
    let (daemon, kms) = start_and_exchange(&node).await;
    let accepted = node.command(&["keys", "accept-loss", ID, "--confirm", "test.v1"]);
    let said = String::from_utf8(accepted.stderr).unwrap();
    assert_eq!(accepted.status.code(), Some(0), "{said}");
    assert!(said.contains("private copy"), "{said}");
    assert!(!said.contains("encrypts under the new key"), "{said}");
    until_listed_again(&node).await;
    assert_eq!(kms.status().await.unwrap_err().code(), Code::FailedPrecondition);
    drop(daemon);
}
