//! A key that is gone: an outage at first, and a refusal once its absence is proven.

use std::time::Duration;
use std::time::Instant;

use tonic::Code;

use support::calls::Kms;
use support::calls::stock;
use support::calls::until_away;
use support::token_node::Node;
use support::token_node::Settings;

const QUICK: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 1s", "open_timeout: 1s"],
    lines: &["probe: {interval: 1s}"],
};

#[tokio::test]
async fn a_token_that_finds_nothing_is_away_until_a_fresh_worker_has_looked_twice() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 1).await;
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    let key_id = kms.status().await.unwrap();
    let sealed = kms.encrypt().await.unwrap();

    let begin = Instant::now();
    node.token.set("finds nothing");
    until_away(&daemon).await;
    assert_eq!(kms.status().await.unwrap(), key_id, "it may still be there");
    kms.encrypt().await.unwrap();
    kms.until_status("its loss is proven", |status| status == Err(Code::FailedPrecondition))
        .await;
    let proven = begin.elapsed();
    assert!(proven > Duration::from_secs(14), "proven after {proven:?}");
    assert_eq!(kms.encrypt().await.unwrap_err().code(), Code::FailedPrecondition);
    assert_eq!(
        kms.decrypt(&stock[0]).await.unwrap_err().code(),
        Code::FailedPrecondition
    );

    // A lagging replica has caught up.
    node.token.set("");
    kms.until_open(&stock[0]).await;
    kms.until_status("it encrypts again", |status| status == Ok(&key_id))
        .await;
    kms.decrypt(&sealed).await.unwrap();
}
