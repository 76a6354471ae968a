//! The payloads that `Decrypt` opens and those that it refuses.

use super::*;
use crate::envelope::error::ErrorKind;
use crate::root_key::fake::Calls;
use crate::root_key::fake::Mood;

async fn kind(node: &Node, bytes: &[u8]) -> Option<ErrorKind> {
    node.decrypt_bytes(bytes).await.err().map(|error| error.kind())
}

#[tokio::test(start_paused = true)]
async fn a_restart_and_a_second_replica_open_what_the_first_sealed() {
    let (fake, state) = (one_version(), state());
    let sealed = {
        let node = Node::start(&[&fake], &state, Policy::default()).await;
        node.encrypt().await.unwrap()
    };
    let restarted = Node::start(&[&fake], &state, Policy::default()).await;
    let replica = Node::start(&[&fake.replica()], &super::state(), Policy::default()).await;
    assert!(restarted.reads(&sealed).await && replica.reads(&sealed).await);
}

#[tokio::test(start_paused = true)]
async fn every_bit_flip_truncation_and_extension_is_refused() {
    for suite in [
        crate::crypto::suite::Suite::Aes256Gcm,
        crate::crypto::suite::Suite::A256CbcHs512,
    ] {
        let fake = one_version();
        let node = Node::start(
            &[&fake],
            &state(),
            Policy {
                suite,
                ..Policy::default()
            },
        )
        .await;
        let sealed = node.encrypt().await.unwrap().bytes;
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(kind(&node, &flipped).await.is_some(), "bit {bit}");
        }
        for length in 0..sealed.len() {
            assert_eq!(
                kind(&node, &sealed[..length]).await,
                Some(ErrorKind::InvalidArgument),
                "cut to {length}"
            );
        }
        for extension in [1, 16, 300] {
            let extended = [sealed.clone(), vec![0; extension]].concat();
            assert_eq!(
                kind(&node, &extended).await,
                Some(ErrorKind::InvalidArgument),
                "with {extension} more"
            );
        }
        assert_eq!(node.decrypt_bytes(&sealed).await.unwrap().as_slice(), SEED);
    }
}

#[tokio::test(start_paused = true)]
async fn fields_swapped_between_two_payloads_are_refused() {
    let fake = one_version();
    let sealed = sealed_elsewhere(&fake, 2).await;
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let (one, two) = (&sealed[0].bytes, &sealed[1].bytes);
    let parsed = crate::root_key::sealed_format::Sealed::parse(one).unwrap();
    let header = parsed.header.len();
    // Replaces id, wrapped data key, nonce, or ciphertext and tag by those of the other payload.
    for field in [4..20, 22..header, header..header + 12, header + 12..one.len()] {
        let mut swapped = one.clone();
        swapped[field.clone()].copy_from_slice(&two[field.clone()]);
        assert_eq!(kind(&node, &swapped).await.is_some(), swapped != *one, "{field:?}");
    }
    assert!(node.reads(&sealed[0]).await && node.reads(&sealed[1]).await);
}

#[tokio::test(start_paused = true)]
async fn a_payload_of_another_purpose_is_refused() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let sealed = node.encrypt().await.unwrap();
    let deadline = Instant::now() + Duration::from_secs(3);
    let opened = node
        .envelope
        .decrypt(Purpose::Kms1, &sealed.bytes, None, deadline)
        .await;
    assert_eq!(opened.unwrap_err().kind(), ErrorKind::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn the_key_id_of_the_request_must_be_the_id_inside() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let sealed = node.encrypt().await.unwrap();
    let with = async |key_id: &str| {
        let deadline = Instant::now() + Duration::from_secs(3);
        node.envelope
            .decrypt(Purpose::Kms2, &sealed.bytes, Some(key_id), deadline)
            .await
    };
    assert!(with(&sealed.key_id.to_string()).await.is_ok());
    for wrong in [
        "",
        "00",
        &"00".repeat(16),
        &sealed.key_id.to_string().to_uppercase().replace('0', "O"),
    ] {
        let refused = with(wrong).await.unwrap_err();
        assert!(matches!(refused, EnvelopeError::KeyIdMismatch { .. }), "{wrong}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrapped_key_proven_bad_is_remembered_for_60_s() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let mut sealed = node.encrypt().await.unwrap().bytes;
    sealed[40] ^= 1; // within the wrapped data key
    fake.take_calls();
    for _ in 0..100 {
        assert_eq!(kind(&node, &sealed).await, Some(ErrorKind::InvalidArgument));
    }
    assert_eq!(fake.take_calls().unwrap, 1);
    sleep(61).await;
    fake.take_calls();
    assert_eq!(kind(&node, &sealed).await, Some(ErrorKind::InvalidArgument));
    assert_eq!(fake.take_calls().unwrap, 1);
    assert!(
        node.envelope.status().is_ok(),
        "one bad value says nothing about the root key"
    );
}

#[tokio::test(start_paused = true)]
async fn a_data_key_enters_the_cache_only_after_a_payload_opened_under_it() {
    let fake = one_version();
    let good = sealed_elsewhere(&fake, 1).await.remove(0);
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let mut bad = good.bytes.clone();
    *bad.last_mut().unwrap() ^= 1;
    fake.take_calls();
    assert_eq!(kind(&node, &bad).await, Some(ErrorKind::InvalidArgument));
    assert_eq!(kind(&node, &bad).await, Some(ErrorKind::InvalidArgument));
    let cached = || node.envelope.0.lock().cache.len();
    let before = cached();
    assert_eq!(fake.take_calls().unwrap, 2, "not cached");
    assert!(node.reads(&good).await && node.reads(&good).await);
    assert_eq!((cached(), fake.take_calls().unwrap), (before + 1, 0));
}

#[tokio::test(start_paused = true)]
async fn one_bad_payload_does_not_spoil_the_unwrap_for_those_who_wait_with_it() {
    let fake = one_version();
    let good = sealed_elsewhere(&fake, 1).await.remove(0);
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let mut bad = good.bytes.clone();
    *bad.last_mut().unwrap() ^= 1;
    fake.take_calls();
    let (bad, good_opened) = tokio::join!(node.decrypt_bytes(&bad), node.decrypt(&good));
    assert!(bad.is_err() && good_opened.is_ok());
    assert_eq!(fake.take_calls().unwrap, 1);
    assert!(node.reads(&good).await);
    assert_eq!(fake.take_calls().unwrap, 0, "the good one put it into the cache");
}

#[tokio::test(start_paused = true)]
async fn an_unwrap_outlives_an_impatient_caller_and_its_result_is_cached() {
    let fake = one_version();
    let sealed = sealed_elsewhere(&fake, 1).await.remove(0);
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.stall();
    let impatient = tokio::time::timeout(Duration::from_millis(50), node.decrypt(&sealed)).await;
    assert!(impatient.is_err());
    fake.let_go();
    sleep(1).await;
    fake.take_calls();
    assert!(node.reads(&sealed).await);
    assert_eq!(fake.take_calls().unwrap, 0);
}

#[tokio::test(start_paused = true)]
async fn an_unwrap_that_has_not_begun_ends_with_its_last_caller() {
    let fake = one_version();
    let sealed = sealed_elsewhere(&fake, 1).await.remove(0);
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.set_mood(Mood::Queues);
    fake.stall();
    fake.take_calls();
    let unwraps = || node.envelope.0.lock().unwraps.len();
    let first = tokio::time::timeout(Duration::from_secs(1), node.decrypt(&sealed));
    let second = tokio::time::timeout(Duration::from_secs(2), node.decrypt(&sealed));
    let watch = async {
        tokio::time::sleep(Duration::from_millis(1500)).await;
        unwraps()
    };
    let (first, second, while_one_waits) = tokio::join!(first, second, watch);
    assert!(first.is_err() && second.is_err() && while_one_waits == 1);
    sleep(1).await;
    assert_eq!((unwraps(), fake.take_calls().unwrap), (0, 1), "one for both");
    assert!(node.envelope.status().is_ok(), "nothing is known to be wrong");
    fake.let_go();
    assert!(node.reads(&sealed).await);
}

#[tokio::test(start_paused = true)]
async fn more_different_wrapped_keys_than_may_wait_are_refused_at_once() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let sealed = node.encrypt().await.unwrap().bytes;
    fake.stall();
    let many: Vec<_> = (0_u16..1030)
        .map(|number| {
            let mut bytes = sealed.clone();
            bytes[30..32].copy_from_slice(&number.to_be_bytes());
            bytes
        })
        .collect();
    let all = futures_util::future::join_all(many.iter().map(|bytes| kind(&node, bytes)));
    tokio::pin!(all);
    assert!(
        tokio::time::timeout(Duration::from_secs(1), &mut all).await.is_err(),
        "they wait"
    );
    fake.let_go();
    let kinds = all.await;
    let refused = kinds
        .iter()
        .filter(|kind| **kind == Some(ErrorKind::ResourceExhausted))
        .count();
    assert!((5..=6).contains(&refused), "{refused}");
    assert!(node.envelope.0.lock().unwraps.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_root_key_that_unwraps_to_another_key_never_yields_a_plaintext() {
    let fake = one_version();
    let sealed = sealed_elsewhere(&fake, 1).await.remove(0);
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.set_mood(Mood::Lies);
    assert_eq!(kind(&node, &sealed.bytes).await, Some(ErrorKind::InvalidArgument));
    fake.set_mood(Mood::Good);
    assert!(node.reads(&sealed).await, "and the wrong key was not cached");
}

#[tokio::test(start_paused = true)]
async fn an_id_in_two_stores_is_an_error_for_both() {
    let fake = one_version();
    let sealed = sealed_elsewhere(&fake, 1).await.remove(0);
    let node = Node::start(&[&fake, &fake.replica()], &state(), Policy::default()).await;
    assert!(matches!(node.decrypt(&sealed).await, Err(EnvelopeError::Ambiguous(_))));
    assert!(
        matches!(node.encrypt().await, Err(EnvelopeError::Ambiguous(_))),
        "it would not read what it writes"
    );
    assert!(node.envelope.status().is_err());
}

#[tokio::test(start_paused = true)]
async fn the_first_store_encrypts_and_the_others_decrypt() {
    let (old, new) = (one_version(), Fake::new());
    new.set(2, active_from(START - 10));
    let sealed = sealed_elsewhere(&old, 1).await.remove(0);
    let node = Node::start(&[&new, &old], &state(), Policy::default()).await;
    assert!(node.reads(&sealed).await);
    assert_eq!(node.encrypt().await.unwrap().key_id, crate::root_key::fake::id(2));
    old.take_calls();
    sleep(3600).await;
    let calls = old.take_calls();
    assert_eq!(
        Calls { discover: 0, ..calls },
        Calls::default(),
        "no probe of a store that only decrypts"
    );
}
