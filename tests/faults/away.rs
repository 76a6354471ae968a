//! The token is unavailable: which calls are still answered, for how long, when Status fails, and that dekhand recovers
//! by itself.

use std::time::Duration;
use std::time::Instant;

use tonic::Code;

use support::calls::Kms;
use support::calls::start_with_http;
use support::calls::stock;
use support::calls::until;
use support::calls::until_away;
use support::calls::until_back;
use support::daemon::page;
use support::token_node::Node;
use support::token_node::Settings;

const QUICK: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 1s", "open_timeout: 1s"],
    lines: &["probe: {interval: 1s}"],
};

#[tokio::test]
async fn the_socket_is_served_from_the_first_second_with_the_token_away() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 1).await;
    node.token.take_away();
    let daemon = node.spawn();
    let kms = Kms::when_open(&node.socket()).await;
    for _ in 0..3 {
        let refused = kms.status().await.unwrap_err();
        assert_eq!(refused.code(), Code::Unavailable, "{refused:?}");
        assert!(!refused.message().is_empty());
        assert_eq!(kms.encrypt().await.unwrap_err().code(), Code::Unavailable);
        let refused = kms.decrypt_within(Duration::from_millis(500), &stock[0]).await;
        let code = refused.unwrap_err().code();
        assert!(matches!(code, Code::Unavailable | Code::DeadlineExceeded), "{code:?}");
    }
    until("the log names the reason", || {
        let log = daemon.log();
        log.contains("the token can't be used") && (log.contains("CKR_") || log.contains("no token is named"))
    })
    .await;

    node.token.put_back();
    kms.until_open(&stock[0]).await;
    kms.until_status("ok without a restart", |status| status.is_ok()).await;
    kms.encrypt().await.unwrap();
}

#[tokio::test]
async fn keys_in_memory_bridge_an_outage_and_the_daemon_returns_by_itself_under_the_same_key_id() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 4).await;
    let (daemon, http) = start_with_http(&node);
    let kms = Kms::connect(&node.socket()).await;
    let key_id = kms.status().await.unwrap();
    let sealed = kms.encrypt().await.unwrap();
    kms.decrypt(&stock[0]).await.unwrap();

    node.token.take_away();
    until_away(&daemon).await;
    for _ in 0..100 {
        assert_eq!(kms.status().await.unwrap(), key_id);
        assert_eq!(kms.encrypt().await.unwrap().key_id, key_id);
        kms.decrypt(&sealed).await.unwrap();
        kms.decrypt(&stock[0]).await.unwrap();
    }
    let ready = page(http, "/readyz?verbose");
    assert!(
        ready.starts_with("HTTP/1.1 200 ") && ready.contains("the root key is unavailable, data keys in memory serve"),
        "{ready}"
    );

    // This node cannot serve this read: its API server should not send it others.
    assert_eq!(kms.decrypt(&stock[1]).await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(kms.status().await.unwrap_err().code(), Code::Unavailable);
    assert!(page(http, "/readyz").starts_with("HTTP/1.1 503 "));
    assert!(page(http, "/livez").starts_with("HTTP/1.1 200 "));
    kms.decrypt(&sealed).await.unwrap();
    kms.decrypt(&stock[0]).await.unwrap();

    node.token.put_back();
    kms.until_open(&stock[1]).await;
    kms.until_status("the node serves reads again", |status| status == Ok(&key_id))
        .await;
    for sealed in &stock {
        kms.decrypt(sealed).await.unwrap();
    }
}

#[tokio::test]
async fn without_any_caller_the_daemon_finds_that_its_token_is_back() {
    let node = Node::with(QUICK);
    let daemon = node.start();
    node.token.take_away();
    until_away(&daemon).await;
    node.token.put_back();
    until_back(&daemon).await;
}

#[tokio::test]
async fn status_errs_for_a_minute_after_a_read_that_had_to_be_refused_and_is_ok_again_before_the_token_is() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 1).await;
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    node.token.take_away();
    until_away(&daemon).await;
    kms.decrypt(&stock[0]).await.unwrap_err();
    let refused = Instant::now();
    while let Err(status) = kms.status().await {
        assert_eq!(status.code(), Code::Unavailable);
        assert!(refused.elapsed() < Duration::from_secs(120), "Status never returns");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let after = refused.elapsed();
    assert!(after > Duration::from_secs(55), "Status was ok again after {after:?}");
    kms.encrypt().await.unwrap();
}

#[tokio::test]
async fn status_errs_when_an_outage_lasts_longer_than_is_tolerated() {
    let lines = &["probe: {interval: 1s}", "outage: {tolerate: 4s}"];
    let node = Node::with(Settings { lines, ..QUICK });
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    let key_id = kms.status().await.unwrap();
    let sealed = kms.encrypt().await.unwrap();
    node.token.take_away();
    until_away(&daemon).await;
    kms.until_status("the tolerance ends", |status| status == Err(Code::Unavailable))
        .await;
    assert_eq!(kms.encrypt().await.unwrap_err().code(), Code::Unavailable);
    kms.decrypt(&sealed).await.unwrap();
    node.token.put_back();
    kms.until_status("the token is back", |status| status == Ok(&key_id))
        .await;
}

#[tokio::test]
async fn without_a_reserve_status_errs_at_once() {
    for reserve in ["data_keys: {reuse: never}", "data_keys: {cache: {ttl: 0s}}"] {
        let lines = &["probe: {interval: 1s}", reserve];
        let node = Node::with(Settings { lines, ..QUICK });
        let daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        let key_id = kms.status().await.unwrap();
        let sealed = kms.encrypt().await.unwrap();
        kms.decrypt(&sealed).await.unwrap();
        node.token.take_away();
        until_away(&daemon).await;
        assert_eq!(kms.status().await.unwrap_err().code(), Code::Unavailable, "{reserve}");
        assert_eq!(kms.encrypt().await.unwrap_err().code(), Code::Unavailable, "{reserve}");
        node.token.put_back();
        kms.until_status("the token is back", |status| status == Ok(&key_id))
            .await;
        kms.until_open(&sealed).await;
        kms.encrypt().await.unwrap();
    }
}
