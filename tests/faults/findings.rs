//! Ten findings about the behaviour of real PKCS#11 modules, and the cost of each to a daemon.
//!
//! | finding | promise kept by |
//! |---|---|
//! | 1. `C_Finalize` around a call kills or hangs the process | `a_module_is_never_finalised_around_a_call` (in the worker's `dispatch/tests/recovery.rs`) |
//! | 2. calls have no timeout and cannot be cancelled | [`a_hung_call_costs_its_worker_and_not_the_calls_behind_it`], and `hung.rs` |
//! | 3. modules corrupt the heap they live in | [`a_crash_inside_the_module_costs_no_request`] |
//! | 4. session handles are recycled | `no_session_of_before_is_closed_after_an_initialisation` (`recovery.rs`) |
//! | 5. shallow probes mislead; only a new initialisation finds a directory that is back | [`a_token_that_still_answers_shallow_questions_is_known_to_be_away`], and `away.rs` |
//! | 6. the return value does not separate bad ciphertext from a bad device | [`a_storm_of_bad_ciphertexts_costs_no_worker_and_no_good_call`], and the worker's `dispatch/tests/ciphertexts.rs` |
//! | 7. `SoftHSM` takes a NULL IV for zeros | [`no_two_data_keys_are_wrapped_under_one_iv`], and `mechanisms.rs` |
//! | 8. `CKM_AES_KEY_WRAP_PAD` is two formats | [`a_token_that_has_only_the_key_wrap_of_two_formats_is_refused`] |
//! | 9. a restart loop with a wrong PIN locks tokens | `restarts.rs`, and `src/token/login/tests.rs` |
//! | 10. other processes' new objects are visible at the next look | `a_version_made_by_another_process_is_found_without_a_login` (`dispatch/tests/missing.rs`), and `rotation.rs` |

use std::collections::HashSet;
use std::time::Duration;
use std::time::Instant;

use dekhand::proto::v2::EncryptResponse;
use futures_util::future::join_all;
use tonic::Code;

use support::calls::Kms;
use support::calls::stock;
use support::calls::until_away;
use support::calls::until_logged;
use support::calls::until_proofs_are_made;
use support::daemon::HANG;
use support::daemon::wait_for;
use support::processes::worker;
use support::token_node::Node;
use support::token_node::Settings;

const QUICK: Settings<'_> = Settings {
    shared: true,
    pkcs11: &["call_timeout: 1s", "open_timeout: 1s"],
    lines: &["probe: {interval: 1s}"],
};

/// The offset of the wrapped data key in a sealed payload: after format, suite, mechanism, the id and two lengths.
const WRAPPED: usize = 3 + 1 + 16 + 2;

/// Another payload, whose wrapped data key opens under no version.
fn spoilt(sealed: &EncryptResponse, bit: usize) -> EncryptResponse {
    let mut spoilt = sealed.clone();
    spoilt.ciphertext[WRAPPED + bit / 8] ^= 1 << (bit % 8);
    spoilt
}

#[tokio::test]
async fn a_hung_call_costs_its_worker_and_not_the_calls_behind_it() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 4).await;
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    let before = worker(&daemon);
    until_proofs_are_made(&node).await;
    node.token.set("C_Decrypt hang times 1");
    let begin = Instant::now();
    let answers = join_all(stock.iter().map(|sealed| kms.decrypt_within(HANG, sealed))).await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).collect();
    // The probe may be the call that hangs.
    assert!(refused.len() <= 1, "{answers:?}");
    assert!(
        refused.iter().all(|status| status.code() == Code::Unavailable),
        "{refused:?}"
    );
    assert!(begin.elapsed() < HANG / 2);
    assert_ne!(worker(&daemon), before);
    for sealed in &stock {
        kms.decrypt(sealed).await.unwrap();
    }
}

#[tokio::test]
async fn a_crash_inside_the_module_costs_no_request() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 5).await;
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    let key_id = kms.status().await.unwrap();
    until_proofs_are_made(&node).await;
    let faults = [
        "C_Decrypt crash times 1",
        "C_Decrypt abort times 1",
        "C_Decrypt exit 0 times 1",
        "C_DecryptInit crash times 1",
        "C_Decrypt noise",
    ];
    for (fault, sealed) in faults.into_iter().zip(&stock) {
        let before = worker(&daemon);
        node.token.set(fault);
        kms.decrypt_within(HANG, sealed).await.unwrap();
        assert_eq!(kms.status().await.unwrap(), key_id);
        assert_eq!(worker(&daemon) == before, fault.contains("noise"), "{fault}");
    }
}

#[tokio::test]
async fn a_token_that_still_answers_shallow_questions_is_known_to_be_away() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 1).await;
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    node.token.set("C_Encrypt,C_Decrypt fail 0x5");
    until_away(&daemon).await;
    // Sessions open, the login holds, the module initialises, but nothing works.
    node.token.set("");
    kms.until_open(&stock[0]).await;
    wait_for("it is back", || daemon.log().contains("the root key is back"));
}

#[tokio::test]
async fn a_storm_of_bad_ciphertexts_costs_no_worker_and_no_good_call() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 21).await;
    let daemon = node.start();
    let kms = Kms::connect(&node.socket()).await;
    until_proofs_are_made(&node).await;
    let before = worker(&daemon);
    kms.decrypt(&stock[0]).await.unwrap();
    // Slow enough that the whole storm takes longer than one call may, with the error of a broken device.
    node.token.set("C_Decrypt delay 5ms\ndecrypt-error 0x30");
    node.token.forget_calls();
    let begin = Instant::now();
    let storm = (0..200).map(|bit| {
        let bad = spoilt(&stock[0], bit);
        async { kms.decrypt_within(HANG, &{ bad }).await.unwrap_err().code() }
    });
    let good = async {
        for sealed in &stock[1..] {
            kms.decrypt_within(HANG, sealed).await.unwrap();
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let (storm, ()) = tokio::join!(join_all(storm), good);
    assert!(storm.iter().all(|code| *code == Code::InvalidArgument), "{storm:?}");
    let calls = |function| node.token.calls(function);
    let decrypts = calls("C_Decrypt");
    // From here on, so that neither calls nor time of probes during the storm count.
    let seconds = usize::try_from(begin.elapsed().as_secs()).unwrap();
    // Each bad one twice, each good one once, a canary and a probe a second.
    let most = 2 * 200 + 20 + 2 * (seconds + 1);
    assert!(decrypts <= most, "{decrypts} calls in {seconds} s");
    assert_eq!(
        (calls("C_Initialize"), calls("C_Finalize"), calls("C_Login")),
        (0, 0, 0)
    );
    assert_eq!(worker(&daemon), before);
    kms.status().await.unwrap();
}

#[tokio::test]
async fn no_two_data_keys_are_wrapped_under_one_iv() {
    let node = Node::with(QUICK);
    let stock = stock(&node, QUICK, 8).await;
    let ivs: HashSet<_> = stock
        .iter()
        .map(|sealed| &sealed.ciphertext[WRAPPED..WRAPPED + 12])
        .collect();
    assert_eq!(ivs.len(), 8);
    assert!(!ivs.contains([0; 12].as_slice()));
}

#[tokio::test]
async fn a_token_that_has_only_the_key_wrap_of_two_formats_is_refused() {
    let node = Node::with(QUICK);
    // SoftHSM still lists 0x210A, and supports it.
    node.token.set("no gcm\nno cbc");
    let daemon = node.spawn();
    let kms = Kms::when_open(&node.socket()).await;
    kms.until_status("a refusal", |status| status == Err(Code::FailedPrecondition))
        .await;
    until_logged(&daemon, "no wrap mechanism works correctly").await;
    node.token.set("");
    kms.until_status("well without a restart", |status| status.is_ok())
        .await;
}
