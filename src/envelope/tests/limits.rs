//! The limits of data keys, and the number of calls to the root key.

use super::*;
use crate::crypto::suite::Suite;
use crate::envelope::policy::Reuse;
use crate::root_key::fake::Calls;
use crate::root_key::fake::Mood;
use crate::root_key::sealed_format::Sealed;

#[tokio::test(start_paused = true)]
async fn ten_thousand_encrypts_make_two_token_calls() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    for _ in 0..10_000 {
        node.encrypt().await.unwrap();
    }
    let calls = fake.take_calls();
    assert_eq!((calls.wrap, calls.unwrap), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn a_herd_of_decrypts_under_ten_data_keys_makes_ten_token_calls() {
    let fake = one_version();
    let sealed = sealed_elsewhere(&fake, 10).await;
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.take_calls();
    let herd = (0..1000).map(|number| node.decrypt(&sealed[number % 10]));
    let opened = futures_util::future::join_all(herd).await;
    assert!(
        opened
            .iter()
            .all(|payload| payload.as_ref().unwrap().as_slice() == SEED)
    );
    assert_eq!(
        fake.take_calls(),
        Calls {
            unwrap: 10,
            ..Calls::default()
        }
    );
    assert!(node.reads(&sealed[3]).await);
    assert_eq!(fake.take_calls(), Calls::default(), "cached");
}

#[tokio::test(start_paused = true)]
async fn an_idle_hour_makes_at_most_66_calls() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.take_calls();
    sleep(3600).await;
    let calls = fake.take_calls();
    assert!((55..=66).contains(&(calls.wrap + calls.unwrap)), "{calls:?}");
    assert!((50..=61).contains(&calls.discover), "{calls:?}");
    node.envelope.status().unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_idle_week_after_a_rotation_stays_as_quiet() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.set(2, active_from(START + 100));
    fake.set(3, crate::root_key::version::State::Pending);
    sleep(3600).await;
    fake.take_calls();
    sleep(7 * 24 * 3600).await;
    let calls = fake.take_calls();
    // A probe each minute, a wrap with every tenth; twice a day a next data key for the primary and the pending version.
    assert!(
        calls.unwrap <= 7 * 24 * 60 + 7 * 2 * 2 + 2 && calls.wrap <= 7 * 24 * 6 + 7 * 2 * 2 + 2,
        "{calls:?}"
    );
    assert!(calls.discover <= 7 * 24 * 60 + 1, "{calls:?}");
    assert_eq!(
        node.envelope.0.lock().rollovers.len(),
        2,
        "nothing stands under version 1 any more"
    );
}

#[tokio::test(start_paused = true)]
async fn two_encrypts_of_one_payload_differ() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    assert_ne!(node.encrypt().await.unwrap(), node.encrypt().await.unwrap());
}

#[tokio::test(start_paused = true)]
async fn each_suite_seals_and_every_suite_opens() {
    let (fake, state) = (one_version(), state());
    let mut policy = Policy::default();
    let node = Node::start(&[&fake], &state, policy.clone()).await;
    let first = node.encrypt().await.unwrap();
    policy.suite = Suite::A256CbcHs512;
    node.envelope.set_policy(policy);
    sleep(1).await;
    let second = node.encrypt().await.unwrap();
    assert_eq!(Sealed::parse(&first.bytes).unwrap().suite, Suite::Aes256Gcm);
    assert_eq!(Sealed::parse(&second.bytes).unwrap().suite, Suite::A256CbcHs512);
    assert!(node.reads(&first).await && node.reads(&second).await);
}

#[tokio::test(start_paused = true)]
async fn a_data_key_seals_no_more_than_its_uses_and_the_spare_is_made_at_half() {
    let fake = one_version();
    let node = Node::start(
        &[&fake],
        &state(),
        Policy {
            max_uses: 10,
            ..Policy::default()
        },
    )
    .await;
    fake.take_calls();
    let mut headers = Vec::new();
    for number in 1..=30 {
        headers.push(header(&node.encrypt().await.unwrap()));
        // Lets the reconciler run: the next data key must exist before it is needed.
        tokio::task::yield_now().await;
        sleep(1).await;
        if number == 4 {
            assert_eq!(fake.take_calls().wrap, 0);
        }
        if number == 5 {
            assert_eq!(fake.take_calls().wrap, 1, "the next data key");
        }
    }
    for data_key in headers.chunks(10) {
        assert!(data_key.iter().all(|header| *header == data_key[0]));
    }
    headers.dedup();
    assert_eq!(headers.len(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_burst_beyond_the_limit_waits_for_the_next_key_and_never_exceeds_it() {
    let fake = one_version();
    let node = Node::start(
        &[&fake],
        &state(),
        Policy {
            max_uses: 3,
            ..Policy::default()
        },
    )
    .await;
    let burst = futures_util::future::join_all((0..100).map(|_| node.encrypt())).await;
    let mut uses = std::collections::HashMap::new();
    for sealed in burst {
        *uses.entry(header(&sealed.unwrap())).or_insert(0) += 1;
    }
    assert!(uses.values().all(|uses| *uses <= 3), "{uses:?}");
}

#[tokio::test(start_paused = true)]
async fn a_data_key_of_one_use_still_serves() {
    let fake = one_version();
    let node = Node::start(
        &[&fake],
        &state(),
        Policy {
            max_uses: 1,
            ..Policy::default()
        },
    )
    .await;
    let one = node.encrypt().await.unwrap();
    assert_ne!(header(&one), header(&node.encrypt().await.unwrap()));
}

#[tokio::test(start_paused = true)]
async fn a_data_key_is_replaced_when_it_is_old() {
    let fake = one_version();
    let node = Node::start(
        &[&fake],
        &state(),
        Policy {
            max_age: Duration::from_secs(7200),
            ..Policy::default()
        },
    )
    .await;
    let first = node.encrypt().await.unwrap();
    sleep(7190).await;
    assert_eq!(header(&first), header(&node.encrypt().await.unwrap()));
    sleep(20).await;
    assert_ne!(header(&first), header(&node.encrypt().await.unwrap()));
    assert!(node.reads(&first).await);
}

#[tokio::test(start_paused = true)]
async fn on_a_node_without_encrypts_no_key_grows_older_than_it_may() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    sleep(40 * 3600).await;
    fake.set_mood(Mood::Away);
    fake.take_calls();
    node.encrypt().await.unwrap();
    let state = node.envelope.0.lock();
    let rollover = state.rollovers.values().next().unwrap();
    let age = node.clock.boottime().saturating_sub(rollover.current().born);
    assert!(age <= Duration::from_secs(24 * 3600), "{age:?}");
}

#[tokio::test(start_paused = true)]
async fn without_reuse_every_payload_has_a_data_key_of_its_own() {
    let fake = one_version();
    let node = Node::start(
        &[&fake],
        &state(),
        Policy {
            reuse: Reuse::Never,
            ..Policy::default()
        },
    )
    .await;
    fake.take_calls();
    let (one, two) = (node.encrypt().await.unwrap(), node.encrypt().await.unwrap());
    assert_ne!(header(&one), header(&two));
    let calls = fake.take_calls();
    assert_eq!((calls.wrap, calls.unwrap), (2, 2));
    fake.set_mood(Mood::Away);
    assert!(node.encrypt().await.is_err());
    assert!(node.envelope.status().is_err(), "there is no reserve");
}

#[tokio::test(start_paused = true)]
async fn without_reuse_an_impatient_caller_does_not_hide_an_outage() {
    let fake = one_version();
    let node = Node::start(
        &[&fake],
        &state(),
        Policy {
            reuse: Reuse::Never,
            ..Policy::default()
        },
    )
    .await;
    fake.stall();
    assert!(
        tokio::time::timeout(Duration::from_secs(3), node.encrypt())
            .await
            .is_err()
    );
    fake.set_mood(Mood::Away);
    fake.let_go();
    sleep(1).await;
    assert!(node.envelope.status().is_err());
}

#[tokio::test(start_paused = true)]
async fn without_a_ttl_every_decrypt_asks_the_root_key() {
    let fake = one_version();
    let node = Node::start(
        &[&fake],
        &state(),
        Policy {
            cache_ttl: Duration::ZERO,
            ..Policy::default()
        },
    )
    .await;
    let sealed = node.encrypt().await.unwrap();
    fake.take_calls();
    assert!(node.reads(&sealed).await && node.reads(&sealed).await);
    assert_eq!(fake.take_calls().unwrap, 2);
    fake.set_mood(Mood::Away);
    assert!(!node.reads(&sealed).await);
    assert!(node.envelope.status().is_err(), "there is no reserve");
}

#[tokio::test(start_paused = true)]
async fn a_cached_data_key_leaves_at_its_ttl() {
    let fake = one_version();
    let sealed = sealed_elsewhere(&fake, 1).await;
    let policy = Policy {
        cache_ttl: Duration::from_secs(600),
        ..Policy::default()
    };
    let node = Node::start(&[&fake], &state(), policy).await;
    assert!(node.reads(&sealed[0]).await);
    sleep(590).await;
    fake.take_calls();
    assert!(node.reads(&sealed[0]).await);
    assert_eq!(fake.take_calls().unwrap, 0);
    sleep(20).await;
    fake.take_calls();
    assert!(node.reads(&sealed[0]).await);
    assert_eq!(fake.take_calls().unwrap, 1);
}

#[tokio::test(start_paused = true)]
async fn the_cache_keeps_no_more_than_its_capacity() {
    let fake = one_version();
    let sealed = sealed_elsewhere(&fake, 4).await;
    let policy = Policy {
        cache_capacity: 2.try_into().unwrap(),
        ..Policy::default()
    };
    let node = Node::start(&[&fake], &state(), policy).await;
    for sealed in &sealed {
        assert!(node.reads(sealed).await);
    }
    assert_eq!(node.envelope.0.lock().cache.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn empty_and_oversized_payloads_are_refused() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let fits = 1023 - (174 - 32 - 32);
    for (length, good) in [(0, false), (1, true), (fits, true), (fits + 1, false), (5 << 20, false)] {
        let sealed = node.envelope.encrypt(Purpose::Kms2, &vec![1; length], patience()).await;
        assert_eq!(sealed.is_ok(), good, "{length}");
        assert!(
            sealed.is_ok_and(|sealed| sealed.bytes.len() <= 1023) == good,
            "{length}"
        );
    }
}
