//! A rotation whose activation falls into an outage.

use std::time::Duration;
use std::time::SystemTime;

use serde_json::Value;

use support::calls::Kms;
use support::calls::until_away;
use support::token_node::Node;
use support::token_node::Settings;

const QUICK: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 1s", "open_timeout: 1s"],
    lines: &["probe: {interval: 1s}"],
};

fn id_of(version: &str, node: &Node) -> String {
    let listed = node.keys(&["list"]);
    let versions = listed["root_keys"][0]["versions"].as_array().unwrap().clone();
    let found = versions.into_iter().find(|listed: &Value| listed["version"] == version);
    found.unwrap()["id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_version_that_was_found_in_time_takes_over_without_its_token() {
    for lead in [10, 25, 50].map(Duration::from_secs) {
        if takes_over_without_its_token(lead).await {
            return;
        }
    }
    panic!("this machine does not start a daemon and notice an outage in 50 s");
}

/// `false` if the activation came before the token was unavailable.
async fn takes_over_without_its_token(lead: Duration) -> bool {
    let node = Node::with(QUICK);
    node.keys(&["rotate"]);
    let (first, second) = (id_of("v1", &node), id_of("v2", &node));
    // Dates in a configuration have seconds, those in labels minutes.
    let active = SystemTime::now() + lead;
    let soon = humantime::format_rfc3339_seconds(active);
    let versions = format!(
        "versions: [{{id: {first}, number: 1, activates: 2026-01-01T00:00:00Z}}, \
         {{id: {second}, number: 2, activates: {soon}}}]"
    );
    let pkcs11 = &["call_timeout: 1s", "open_timeout: 1s", versions.as_str()];
    node.configure(Settings { pkcs11, ..QUICK });
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    let sealed = kms.encrypt().await.unwrap();
    node.token.take_away();
    until_away(&daemon).await;
    let now = kms.status().await.unwrap();
    // The date was written without fractions of a second.
    if SystemTime::now() + Duration::from_secs(1) >= active {
        return false;
    }
    assert_eq!((now.as_str(), sealed.key_id.as_str()), (first.as_str(), first.as_str()));
    kms.until_status("v2 encrypts", |status| status == Ok(&second)).await;
    assert_eq!(kms.encrypt().await.unwrap().key_id, second);
    kms.decrypt(&sealed).await.unwrap();
    node.token.put_back();
    assert_eq!(kms.status().await.unwrap(), second);
    true
}

#[tokio::test]
async fn a_version_that_was_made_and_activated_in_an_outage_takes_over_when_the_token_is_back() {
    let node = Node::with(QUICK);
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    let first = kms.status().await.unwrap();
    let old = kms.encrypt().await.unwrap();
    node.token.take_away();
    until_away(&daemon).await;

    // Unavailable for this node, but not for the next one, where the operator rotates.
    let softhsm = std::fs::read_to_string(node.token.path("softhsm2.conf")).unwrap();
    let elsewhere = softhsm.replace("/tokens\n", "/tokens.gone\n");
    assert_ne!(softhsm, elsewhere);
    std::fs::write(node.token.path("elsewhere.conf"), elsewhere).unwrap();
    let config = std::fs::read_to_string(node.config()).unwrap();
    let config = config.replace("/softhsm2.conf", "/elsewhere.conf");
    let config = config.replace("/state\n", "/elsewhere\n");
    std::fs::write(node.path("elsewhere.yaml"), config).unwrap();
    let config = node.path("elsewhere.yaml").display().to_string();
    let rotate = ["keys", "rotate", "--activate-in", "0s", "--config", &config];
    let rotated = support::daemon::json(&rotate);
    let second = rotated["version"]["id"].as_str().unwrap().to_owned();
    let since = rotated["version"]["since"].as_str().unwrap();
    let since = humantime::parse_rfc3339(since).unwrap();

    // Labels have no seconds: it is active from the next minute.
    while SystemTime::now() < since + Duration::from_secs(1) {
        assert_eq!(kms.status().await.unwrap(), first, "nobody here can know");
        assert_eq!(kms.encrypt().await.unwrap().key_id, first);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    node.token.put_back();
    kms.until_status("v2 encrypts", |status| {
        assert!(status.is_ok(), "no word of trouble on the way: {status:?}");
        status == Ok(&second)
    })
    .await;
    assert_eq!(kms.encrypt().await.unwrap().key_id, second);
    kms.decrypt(&old).await.unwrap();
}
