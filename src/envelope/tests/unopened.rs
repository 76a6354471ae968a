//! Payloads with a good wrapped key and a changed body: they cost few calls, and they do not affect other payloads.

use super::*;
use crate::crypto::suite::Suite;
use crate::envelope::error::ErrorKind;
use crate::root_key::fake::Mood;
use crate::root_key::sealed_format::Sealed;

/// The same payload with a changed body, a different one for each number.
fn changed(sealed: &SealedPayload, number: u32) -> Vec<u8> {
    let mut bytes = sealed.bytes.clone();
    let tail = bytes.len() - 4;
    for (byte, change) in bytes[tail..].iter_mut().zip((number + 1).to_be_bytes()) {
        *byte ^= change;
    }
    bytes
}

async fn is_refused(node: &Node, purpose: Purpose, bytes: &[u8]) {
    let refused = node
        .envelope
        .decrypt(purpose, bytes, None, patience())
        .await
        .unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
}

/// A node without data keys in memory, and as many payloads as `payloads`.
async fn node_and(payloads: usize, policy: Policy) -> (Arc<Fake>, Node, Vec<SealedPayload>) {
    let fake = one_version();
    let sealed = sealed_elsewhere(&fake, payloads).await;
    let node = Node::start(&[&fake], &state(), policy).await;
    fake.take_calls();
    (fake, node, sealed)
}

/// No data key stays in memory.
fn without_a_cache() -> Policy {
    Policy {
        cache_ttl: Duration::ZERO,
        ..Policy::default()
    }
}

#[tokio::test(start_paused = true)]
async fn sixty_decrypts_of_one_changed_payload_make_two_token_calls_in_a_minute() {
    for policy in [Policy::default(), without_a_cache()] {
        let (fake, node, sealed) = node_and(1, policy).await;
        for _minute in 0..3 {
            for _ in 0..60 {
                is_refused(&node, Purpose::Kms2, &changed(&sealed[0], 1)).await;
            }
            assert_eq!(fake.take_calls().unwrap, 2);
            sleep(61).await;
            fake.take_calls();
        }
        assert!(node.envelope.status().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_good_payload_behind_a_bad_one_under_the_same_header_costs_one_call_more_at_most() {
    for bad_ones in [1, 2, 60] {
        for (policy, calls) in [(Policy::default(), 0), (without_a_cache(), 1)] {
            let (fake, node, sealed) = node_and(1, policy).await;
            for number in 0..bad_ones {
                is_refused(&node, Purpose::Kms2, &changed(&sealed[0], number)).await;
            }
            fake.take_calls();
            assert!(node.reads(&sealed[0]).await);
            assert_eq!(fake.take_calls().unwrap, calls, "behind {bad_ones}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_at_the_other_door_or_with_another_suite_costs_two_calls_in_a_minute() {
    let (fake, node, sealed) = node_and(2, Policy::default()).await;
    for _ in 0..60 {
        is_refused(&node, Purpose::Kms1, &sealed[0].bytes).await;
    }
    assert_eq!(fake.take_calls().unwrap, 2);
    // Long enough for the other suite, and with the other suite's number.
    let mut other_suite = sealed[1].bytes.clone();
    other_suite[1] = Suite::A256CbcHs512.number();
    let header = Sealed::parse(&sealed[1].bytes).unwrap().header.len();
    other_suite.resize(header + Suite::A256CbcHs512.sealed_length(SEED.len()), 0);
    for _ in 0..60 {
        is_refused(&node, Purpose::Kms2, &other_suite).await;
    }
    assert_eq!(fake.take_calls().unwrap, 2);
    assert!(node.reads(&sealed[0]).await && node.reads(&sealed[1]).await);
    assert_eq!(fake.take_calls().unwrap, 0);
}

#[tokio::test(start_paused = true)]
async fn a_storm_of_changed_bodies_under_one_wrapped_key_makes_two_token_calls() {
    let (fake, node, sealed) = node_and(1, Policy::default()).await;
    let storm: Vec<_> = (0..5000).map(|number| changed(&sealed[0], number)).collect();
    for burst in storm.chunks(50) {
        let burst = burst.iter().map(|bytes| is_refused(&node, Purpose::Kms2, bytes));
        futures_util::future::join_all(burst).await;
    }
    assert_eq!(fake.take_calls().unwrap, 2);
    let remembered = node.envelope.0.lock().unopened.sizes();
    assert_eq!(remembered, (1, 1000), "bounded");
    assert!(node.reads(&sealed[0]).await);
    assert_eq!(fake.take_calls().unwrap, 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_remembered_of_changed_bodies_takes_no_place_from_bad_wrapped_keys_and_proven_data_keys() {
    let (fake, node, sealed) = node_and(400, Policy::default()).await;
    let (good, others) = sealed.split_first().unwrap();
    assert!(node.reads(good).await);
    let mut forged = good.bytes.clone();
    forged[40] ^= 1;
    is_refused(&node, Purpose::Kms2, &forged).await;
    for other in others {
        for number in 0..4 {
            is_refused(&node, Purpose::Kms2, &changed(other, number)).await;
        }
    }
    assert_eq!(node.envelope.0.lock().unopened.sizes(), (256, 1000), "bounded");
    fake.take_calls();
    is_refused(&node, Purpose::Kms2, &forged).await;
    assert!(node.reads(good).await);
    assert_eq!(fake.take_calls().unwrap, 0);
    for other in others {
        assert!(node.reads(other).await, "none is spoilt");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unproven_data_key_is_in_memory_for_70_s_at_most_and_none_where_none_is_kept() {
    let policy = Policy {
        // No listing, which would wipe them too, is due in this test.
        probe_interval: Duration::from_secs(24 * 3600),
        ..Policy::default()
    };
    let (_fake, node, sealed) = node_and(1, policy).await;
    is_refused(&node, Purpose::Kms2, &changed(&sealed[0], 1)).await;
    sleep(59).await;
    assert_eq!(node.envelope.0.lock().unopened.sizes().0, 1);
    sleep(12).await;
    assert_eq!(node.envelope.0.lock().unopened.sizes().0, 0);

    let (_fake, node, sealed) = node_and(1, without_a_cache()).await;
    is_refused(&node, Purpose::Kms2, &changed(&sealed[0], 1)).await;
    let wrap = crate::envelope::unopened::WrapName::of(&Sealed::parse(&sealed[0].bytes).unwrap());
    let now = node.clock.boottime();
    let remembered = node.envelope.0.lock().unopened.key(&wrap, now).unwrap();
    assert!(remembered.key.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_token_that_has_lied_about_a_data_key_costs_no_good_payload() {
    for lies in 1..4 {
        for policy in [Policy::default(), without_a_cache()] {
            let (fake, node, sealed) = node_and(1, policy).await;
            fake.set_mood(Mood::Lies);
            for _ in 0..lies {
                is_refused(&node, Purpose::Kms2, &sealed[0].bytes).await;
            }
            fake.set_mood(Mood::Good);
            assert!(node.reads(&sealed[0]).await, "after {lies} lies");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_payload_known_to_be_bad_ends_no_tolerance_in_an_outage() {
    let (fake, node, sealed) = node_and(1, Policy::default()).await;
    for _ in 0..3 {
        is_refused(&node, Purpose::Kms2, &changed(&sealed[0], 1)).await;
    }
    fake.set_mood(Mood::Away);
    sleep(600).await;
    is_refused(&node, Purpose::Kms2, &changed(&sealed[0], 1)).await;
    assert!(
        node.envelope.status().is_ok(),
        "no read was refused for want of the root key"
    );
}
