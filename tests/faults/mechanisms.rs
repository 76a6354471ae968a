//! How data keys are wrapped with tokens of every kind, and that no token is trusted without a test.

use std::sync::Arc;

use dekhand::proto::v2::EncryptResponse;
use token_shim::token::Token;
use tonic::Code;

use support::calls::Kms;
use support::calls::stock;
use support::calls::stop;
use support::calls::until_logged;
use support::calls::until_proofs_are_made;
use support::token_node::Node;
use support::token_node::Settings;

const QUICK: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 5s", "open_timeout: 5s"],
    lines: &["probe: {interval: 1s}"],
};

/// A kind of token, and the mechanism in its payloads.
const TOKENS: [(&str, u8); 8] = [
    ("", 1),
    ("like luna", 2),
    ("like luna12", 2),
    ("like cloudhsm", 1),
    ("like protectserver", 1),
    ("like v3", 1),
    ("no gcm\nkwp", 3),
    ("no gcm", 4),
];

fn mechanism(sealed: &EncryptResponse) -> u8 {
    sealed.ciphertext[2]
}

#[tokio::test]
async fn payloads_of_every_mechanism_of_a_key_open_whatever_its_token_has_become() {
    let node = Node::with(QUICK);
    // A token that no longer permits one mechanism needs a proof by another one.
    let daemon = node.start();
    Kms::connect(&node.socket()).await.encrypt().await.unwrap();
    until_proofs_are_made(&node).await;
    assert_eq!(stop(daemon).await.0, Some(0));
    let mut sealed = Vec::new();
    for (control, number) in TOKENS {
        node.token.set(control);
        let one = stock(&node, QUICK, 1).await.remove(0);
        assert_eq!(mechanism(&one), number, "{control}");
        sealed.push(one);
    }
    // The shim's key wrap is not SoftHSM's; the other payloads open with any of these tokens.
    for control in ["kwp", "like luna\nkwp", "like v3\nkwp"] {
        node.token.set(control);
        let daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        for (one, (made, _)) in sealed.iter().zip(TOKENS) {
            let opened = kms.decrypt(one).await;
            assert!(opened.is_ok(), "{made:?} by {control:?}: {opened:?}");
        }
        assert_eq!(stop(daemon).await.0, Some(0));
    }
}

#[tokio::test]
async fn a_root_key_is_made_and_served_by_every_kind_of_token() {
    for (control, number) in [
        ("like luna", 2),
        ("like protectserver", 1),
        ("like v3", 1),
        ("no gcm", 4),
    ] {
        let node = Node::on(&Arc::new(Token::new()), QUICK);
        node.token.set(control);
        node.keys(&["create"]);
        let _daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        let sealed = kms.encrypt().await.unwrap();
        assert_eq!(mechanism(&sealed), number, "{control}");
        kms.decrypt(&sealed).await.unwrap();
    }
}

#[tokio::test]
async fn an_rsa_root_key_wraps_by_oaep_with_what_hash_the_token_has() {
    // It makes an RSA pair; its wrap method is found later.
    let node = Node::with(Settings {
        pkcs11: &["mechanism: rsa-oaep-sha1"],
        ..QUICK
    });
    node.configure(QUICK);
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    let sealed = kms.encrypt().await.unwrap();
    // SoftHSM has no OAEP with SHA-256.
    assert_eq!(mechanism(&sealed), 6);
    assert_eq!(stop(daemon).await.0, Some(0));
    let _daemon = node.start();
    Kms::connect(&node.socket()).await.decrypt(&sealed).await.unwrap();
}

#[tokio::test]
async fn a_mechanism_can_be_demanded_and_one_that_does_not_work_is_a_refusal_that_says_why() {
    let demanding = |pkcs11| Settings { pkcs11, ..QUICK };
    let node = Node::with(demanding(&["mechanism: aes-cbc"]));
    let sealed = stock(&node, demanding(&["mechanism: aes-cbc"]), 1).await.remove(0);
    assert_eq!(mechanism(&sealed), 4);
    node.configure(demanding(&["mechanism: aes-kwp"]));
    let daemon = node.spawn();
    let kms = Kms::when_open(&node.socket()).await;
    kms.until_status("a refusal", |status| status == Err(Code::FailedPrecondition))
        .await;
    for said in [
        "`mechanism: aes-kwp` cannot be used",
        "CKR_MECHANISM_INVALID",
        "would use aes-gcm",
    ] {
        until_logged(&daemon, said).await;
    }
    // Existing payloads still open.
    kms.until_open(&sealed).await;
    let status = node.status();
    assert!(!status.status.success());
    assert!(
        String::from_utf8_lossy(&status.stderr).contains("refuses"),
        "{status:?}"
    );
}

#[tokio::test]
async fn a_token_that_lies_is_found_out_and_another_mechanism_is_used() {
    let node = Node::with(QUICK);
    for (lie, found_out, number) in [
        ("constant-iv", "an IV of zeros", 4),
        ("no-tamper-detection\nkwp", "with a changed IV", 4),
        ("constant-iv\nkwp", "an IV of zeros", 3),
    ] {
        node.token.set(lie);
        let daemon = node.start();
        let kms = Kms::connect(&node.socket()).await;
        assert_eq!(mechanism(&kms.encrypt().await.unwrap()), number, "{lie}");
        let (_, log) = stop(daemon).await;
        let told = log.lines().find(|line| line.contains("aes-gcm is not used under"));
        assert!(told.is_some_and(|line| line.contains(found_out)), "{lie}: {log}");
    }
}

#[tokio::test]
async fn a_token_that_only_lies_is_refused() {
    let node = Node::with(QUICK);
    for lie in ["constant-iv\nno cbc", "C_Encrypt longer", "C_Encrypt shorter"] {
        node.token.set(lie);
        let daemon = node.spawn();
        let kms = Kms::when_open(&node.socket()).await;
        kms.until_status(lie, |status| status == Err(Code::FailedPrecondition))
            .await;
        assert_eq!(kms.encrypt().await.unwrap_err().code(), Code::FailedPrecondition);
        let (_, log) = stop(daemon).await;
        assert!(log.contains("no wrap mechanism works correctly"), "{lie}: {log}");
    }
}
