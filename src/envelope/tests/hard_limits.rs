//! The limits of a data key that nothing suspends: 2^32 payloads, and 64 GiB of payload.

use super::*;
use crate::envelope::error::ErrorKind;
use crate::envelope::policy::MOST_BLOCKS;
use crate::envelope::policy::MOST_USES;
use crate::root_key::fake::Mood;

/// Sets the number of payloads that the current data key has sealed.
fn set_uses(node: &Node, uses: u64) {
    let state = node.envelope.0.lock();
    assert_eq!(state.rollovers.len(), 1);
    for rollover in state.rollovers.values() {
        rollover.current().set_uses(uses);
    }
}

/// A policy whose only limit is 2^32.
fn as_many_uses_as_can_be() -> Policy {
    Policy {
        max_uses: MOST_USES,
        ..Policy::default()
    }
}

#[tokio::test(start_paused = true)]
async fn after_2_to_the_32_payloads_a_fresh_data_key_seals() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), as_many_uses_as_can_be()).await;
    let first = header(&node.encrypt().await.unwrap());
    fake.take_calls();
    set_uses(&node, MOST_USES - 1);
    assert_eq!(header(&node.encrypt().await.unwrap()), first, "the last one");
    // There is no next data key yet: this Encrypt waits for it.
    assert_ne!(header(&node.encrypt().await.unwrap()), first);
    assert_eq!(fake.take_calls().wrap, 1);
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_2_to_the_32_holds_in_an_outage_too() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), as_many_uses_as_can_be()).await;
    let sealed = node.encrypt().await.unwrap();
    fake.set_mood(Mood::Away);
    sleep(120).await;
    set_uses(&node, MOST_USES - 1);
    assert_eq!(header(&node.encrypt().await.unwrap()), header(&sealed), "the last one");
    for _ in 0..3 {
        let refused = node.encrypt().await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::Unavailable);
        assert!(refused.to_string().contains("2^32"), "{refused}");
    }
    assert!(
        node.envelope.status().is_err(),
        "Status does not promise what Encrypt refuses"
    );
    assert!(node.reads(&sealed).await, "reads go on");
    fake.set_mood(Mood::Good);
    sleep(11).await;
    assert_ne!(header(&node.encrypt().await.unwrap()), header(&sealed));
}

/// Sets the blocks of 16 bytes that the current data key has sealed.
fn set_blocks(node: &Node, blocks: u64) {
    let state = node.envelope.0.lock();
    for rollover in state.rollovers.values() {
        rollover.current().set_blocks(blocks);
    }
}

#[tokio::test(start_paused = true)]
async fn a_data_key_seals_64_gib_to_the_last_block_and_no_payload_beyond() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), as_many_uses_as_can_be()).await;
    let first = header(&node.encrypt().await.unwrap());
    // A payload of 32 bytes has two blocks.
    set_blocks(&node, MOST_BLOCKS - 2);
    assert_eq!(header(&node.encrypt().await.unwrap()), first, "it fits exactly");
    let second = header(&node.encrypt().await.unwrap());
    assert_ne!(second, first);
    set_blocks(&node, MOST_BLOCKS - 1);
    assert_ne!(header(&node.encrypt().await.unwrap()), second, "one block too few");
}

#[tokio::test(start_paused = true)]
async fn the_next_data_key_is_made_after_32_gib() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), as_many_uses_as_can_be()).await;
    node.encrypt().await.unwrap();
    fake.take_calls();
    set_blocks(&node, MOST_BLOCKS / 2 - 2);
    node.encrypt().await.unwrap();
    sleep(1).await;
    assert_eq!(fake.take_calls().wrap, 1);
}

#[tokio::test(start_paused = true)]
async fn the_limit_of_64_gib_holds_in_an_outage_too() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), as_many_uses_as_can_be()).await;
    let sealed = node.encrypt().await.unwrap();
    fake.set_mood(Mood::Away);
    sleep(120).await;
    set_blocks(&node, MOST_BLOCKS - 1);
    let refused = tokio::time::timeout(Duration::from_millis(1), node.encrypt()).await;
    let refused = refused.unwrap().unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::Unavailable);
    assert!(refused.to_string().contains("64 GiB"), "{refused}");
    assert!(node.envelope.status().is_err());
    assert!(node.reads(&sealed).await, "reads go on");
    fake.set_mood(Mood::Good);
    sleep(11).await;
    assert_ne!(header(&node.encrypt().await.unwrap()), header(&sealed));
}

#[tokio::test(start_paused = true)]
async fn payloads_that_are_refused_do_not_count() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), as_many_uses_as_can_be()).await;
    let first = header(&node.encrypt().await.unwrap());
    set_blocks(&node, MOST_BLOCKS - 2);
    let too_long = vec![1; 5 << 20];
    let refused = node.envelope.encrypt(Purpose::Kms2, &too_long, patience()).await;
    assert_eq!(refused.unwrap_err().kind(), ErrorKind::InvalidArgument);
    assert_eq!(header(&node.encrypt().await.unwrap()), first);
}

#[tokio::test(start_paused = true)]
async fn an_outage_that_begins_while_an_encrypt_waits_for_a_fresh_key_does_not_give_it_the_spent_one() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), as_many_uses_as_can_be()).await;
    fake.stall();
    set_uses(&node, MOST_USES);
    let envelope = node.envelope.clone();
    let waiting = tokio::spawn(async move { envelope.encrypt(Purpose::Kms2, &SEED, patience()).await });
    sleep(1).await;
    assert!(!waiting.is_finished());
    fake.set_mood(Mood::Away);
    fake.let_go();
    assert_eq!(waiting.await.unwrap().unwrap_err().kind(), ErrorKind::Unavailable);
}
