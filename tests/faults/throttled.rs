//! More unwraps than a token can do: no good one is taken for a bad ciphertext, and the bad ones cause no outage.

use std::collections::BTreeMap;
use std::time::Duration;

use dekhand::proto::v2::EncryptResponse;
use futures_util::future::join_all;

use support::calls::Kms;
use support::calls::stock;
use support::token_node::Node;
use support::token_node::Settings;

#[tokio::test]
async fn a_herd_at_a_throttled_token_opens_in_time_and_none_is_called_bad() {
    let settings = Settings::default();
    let node = Node::with(settings);
    let stock = stock(&node, settings, 40).await;
    let _daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    kms.decrypt(&stock[0]).await.unwrap();
    node.token.forget_calls();
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
    stayed(&node);
}

#[tokio::test]
async fn writes_that_are_a_wrap_each_succeed_at_a_throttled_token() {
    let settings = Settings {
        lines: &["probe: {interval: 1s}", "data_keys: {reuse: never}"],
        ..Settings::default()
    };
    let node = Node::with(settings);
    let _daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    kms.encrypt().await.unwrap();
    node.token.forget_calls();
    node.token.set("throttle 10");
    let sealed = join_all((0..30).map(|_| kms.encrypt_within(Duration::from_secs(25)))).await;
    for outcome in sealed {
        outcome.unwrap();
    }
    stayed(&node);
}

/// The worker is the same, and its module was not initialised again.
fn stayed(node: &Node) {
    let calls = ["C_Finalize", "C_Initialize", "C_Login"].map(|function| node.token.calls(function));
    assert_eq!(calls, [0; 3]);
}

/// The same payload with another wrapped data key, which opens under no version.
fn forged(sealed: &EncryptResponse, number: u16) -> EncryptResponse {
    // Format, suite, mechanism, length of the id, the id, length of the wrapped key, IV.
    let ciphertext = 1 + 1 + 1 + 1 + 16 + 2 + 12;
    let mut forged = sealed.clone();
    for (at, byte) in number.to_be_bytes().into_iter().enumerate() {
        forged.ciphertext[ciphertext + at] ^= byte;
    }
    forged
}

#[tokio::test]
async fn a_storm_of_bad_values_at_a_slow_token_is_too_much_at_once_and_no_outage() {
    let settings = Settings {
        lines: &["probe: {interval: 1s}"],
        ..Settings::default()
    };
    let node = Node::with(settings);
    let stock = stock(&node, settings, 2).await;
    let _daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    kms.decrypt(&stock[0]).await.unwrap();
    let mut callers = Vec::new();
    for _ in 0..4 {
        callers.push(Kms::connect(&node.socket()).await);
    }
    node.token.set("C_Decrypt delay 100ms");
    node.token.forget_calls();
    let storm = (1_u16..=1000).map(|number| {
        let (caller, bad) = (&callers[usize::from(number) % callers.len()], forged(&stock[0], number));
        async move {
            // In waves: the first one shows how slow the token is.
            tokio::time::sleep(Duration::from_millis(u64::from(number / 100) * 200)).await;
            caller.decrypt(&bad).await.unwrap_err().code()
        }
    });
    let storm = async {
        let mut codes = BTreeMap::new();
        for code in join_all(storm).await {
            *codes.entry(format!("{code:?}")).or_insert(0) += 1;
        }
        codes
    };
    tokio::pin!(storm);
    let mut answered = 0;
    let codes = loop {
        tokio::select! {
            codes = &mut storm => break codes,
            () = tokio::time::sleep(Duration::from_millis(20)) => {
                kms.status().await.unwrap();
                kms.encrypt().await.unwrap();
                kms.decrypt(&stock[0]).await.unwrap();
                answered += 1;
            }
        }
    };
    println!("1000 bad values at a token of 100 ms a call: {codes:?}; beside them {answered} rounds of good calls");
    assert!(answered > 0 && codes["ResourceExhausted"] > 0);
    let others = ["InvalidArgument", "ResourceExhausted", "DeadlineExceeded"];
    assert!(codes.keys().all(|code| others.contains(&code.as_str())), "{codes:?}");
    node.token.set("");
    kms.until_open(&stock[1]).await;
    kms.status().await.unwrap();
    stayed(&node);
}
