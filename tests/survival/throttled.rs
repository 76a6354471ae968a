//! A token that refuses good unwraps for a while, since there are too many: none of them is taken for a bad ciphertext.

use std::time::Duration;

use futures_util::future::join_all;

use crate::calls::Kms;
use crate::calls::stock;
use crate::node::Node;
use crate::node::Settings;

#[tokio::test]
async fn a_herd_at_a_throttled_token_opens_in_time_and_none_is_called_bad() {
    let settings = Settings::default();
    let node = Node::with(settings);
    let stock = stock(&node, settings, 40).await;
    let _daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    node.token.set("throttle 10");
    let opened = join_all(
        stock
            .iter()
            .map(|sealed| kms.decrypt_within(Duration::from_secs(25), sealed)),
    )
    .await;
    for outcome in opened {
        outcome.unwrap();
    }
}
