//! Status in outages, refusals and corruption.

use super::*;
use crate::envelope::error::ErrorKind;
use crate::envelope::policy::Reuse;
use crate::root_key::fake::Mood;
use crate::root_key::fake::id;

const HOUR: u64 = 3600;

#[tokio::test(start_paused = true)]
async fn a_start_without_the_token_is_unavailable_and_heals_by_itself() {
    let fake = one_version();
    fake.set_mood(Mood::Away);
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    assert_eq!(node.envelope.status().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(node.encrypt().await.unwrap_err().kind(), ErrorKind::Unavailable);
    sleep(HOUR).await;
    fake.set_mood(Mood::Good);
    sleep(11).await;
    assert!(node.envelope.status().is_ok() && node.encrypt().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_second_root_key_that_does_not_answer_delays_no_start() {
    let (first, second) = (one_version(), Fake::new());
    second.set_mood(Mood::Silent);
    let node = Node::start(&[&first, &second], &state(), Policy::default()).await;
    assert!(node.envelope.status().is_ok());
    assert!(node.reads(&node.encrypt().await.unwrap()).await);
}

#[tokio::test(start_paused = true)]
async fn in_an_outage_the_live_key_encrypts_and_cached_keys_decrypt_for_outage_tolerate() {
    let fake = one_version();
    let elsewhere = sealed_elsewhere(&fake, 1).await.remove(0);
    let policy = Policy {
        max_age: Duration::from_secs(2 * HOUR),
        max_uses: 50,
        cache_ttl: Duration::from_secs(HOUR),
        ..Policy::default()
    };
    let node = Node::start(&[&fake], &state(), policy).await;
    assert!(node.reads(&elsewhere).await);
    let key_id = node.envelope.status().unwrap();
    fake.set_mood(Mood::Away);
    for _ in 0..23 {
        sleep(HOUR).await;
        // Limits of age and use, and TTLs, are suspended.
        for _ in 0..10 {
            let sealed = node.encrypt().await.unwrap();
            assert_eq!(sealed.key_id, key_id);
            assert!(node.reads(&sealed).await);
        }
        assert!(node.reads(&elsewhere).await);
        assert_eq!(node.envelope.status().unwrap(), key_id);
    }
    sleep(HOUR + 120).await;
    assert_eq!(node.envelope.status().unwrap_err().kind(), ErrorKind::Unavailable);
    assert_eq!(node.encrypt().await.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(node.reads(&elsewhere).await, "reads go on");
    fake.set_mood(Mood::Good);
    sleep(11).await;
    assert_eq!(node.envelope.status().unwrap(), key_id, "recovered without a restart");
    fake.take_calls();
    assert!(node.reads(&elsewhere).await);
    assert_eq!(fake.take_calls().unwrap, 1, "evictions resume with the first good call");
}

#[tokio::test(start_paused = true)]
async fn a_read_refused_for_want_of_the_token_ends_the_tolerance_for_60_s_each_time() {
    let fake = one_version();
    let elsewhere = sealed_elsewhere(&fake, 1).await.remove(0);
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.set_mood(Mood::Away);
    sleep(120).await;
    assert!(node.envelope.status().is_ok());
    assert_eq!(
        node.decrypt(&elsewhere).await.unwrap_err().kind(),
        ErrorKind::Unavailable
    );
    assert!(node.envelope.status().is_err());
    sleep(59).await;
    assert!(node.envelope.status().is_err());
    sleep(2).await;
    assert!(node.envelope.status().is_ok());
    assert!(node.decrypt(&elsewhere).await.is_err());
    assert!(node.envelope.status().is_err());
    fake.set_mood(Mood::Good);
    sleep(11).await;
    assert!(node.envelope.status().is_ok() && node.reads(&elsewhere).await);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_unwraps_and_does_not_wrap_is_away_until_it_wraps() {
    let fake = one_version();
    // Each of them causes an unwrap.
    let elsewhere = sealed_elsewhere(&fake, 200).await;
    let policy = Policy {
        max_uses: 1,
        tolerate: Duration::from_secs(600),
        ..Policy::default()
    };
    let node = Node::start(&[&fake], &state(), policy).await;
    node.encrypt().await.unwrap();
    fake.set_mood(Mood::WrapsNothing);
    for read in &elsewhere[..180] {
        for _ in 0..3 {
            let sealed = tokio::time::timeout(Duration::from_secs(1), node.encrypt()).await;
            assert!(sealed.unwrap().is_ok(), "limits of use are suspended");
        }
        assert!(node.envelope.status().is_ok());
        assert!(node.reads(read).await);
        sleep(3).await;
    }
    sleep(200).await;
    for read in &elsewhere[180..] {
        assert!(node.envelope.status().is_err(), "outage.tolerate has ended");
        assert!(node.reads(read).await);
    }
    fake.set_mood(Mood::Good);
    sleep(11).await;
    assert!(node.envelope.status().is_ok() && node.encrypt().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn what_was_proven_bad_before_an_outage_does_not_end_its_tolerance() {
    let fake = one_version();
    let mut bad = sealed_elsewhere(&fake, 1).await.remove(0);
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    bad.bytes[40] ^= 1;
    assert_eq!(node.decrypt(&bad).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
    fake.set_mood(Mood::Away);
    for _ in 0..10 {
        sleep(60).await;
        assert_eq!(node.decrypt(&bad).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        assert!(node.envelope.status().is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_dead_token_is_called_at_the_pace_of_the_backoff_however_many_encrypt() {
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
    fake.set_mood(Mood::Away);
    sleep(120).await;
    fake.take_calls();
    for _ in 0..1000 {
        node.encrypt().await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let calls = fake.take_calls();
    assert!(
        calls.wrap + calls.unwrap <= 25,
        "100 s, a call every 5 to 10 s: {calls:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_refusal_of_the_version_that_encrypts_shows_at_once_and_ends_with_a_proven_data_key() {
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
    let sealed = node.encrypt().await.unwrap();
    fake.set_mood(Mood::Refuses);
    for _ in 0..5 {
        node.encrypt().await.ok();
    }
    sleep(1).await;
    assert_eq!(node.envelope.status().unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(node.encrypt().await.unwrap_err().kind(), ErrorKind::Refused);
    assert!(node.reads(&sealed).await, "reads go on");
    fake.set_mood(Mood::Good);
    sleep(11).await;
    assert!(node.envelope.status().is_ok() && node.encrypt().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_probe_finds_a_round_trip_that_does_not_match() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.set_mood(Mood::Lies);
    sleep(61).await;
    assert_eq!(node.envelope.status().unwrap_err().kind(), ErrorKind::Refused);
    fake.set_mood(Mood::Good);
    sleep(11).await;
    assert!(node.envelope.status().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_hung_token_delays_neither_status_nor_encrypt_nor_cached_reads() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let sealed = node.encrypt().await.unwrap();
    fake.stall();
    sleep(HOUR).await;
    let now = Instant::now();
    assert!(node.envelope.status().is_ok() && node.encrypt().await.is_ok() && node.reads(&sealed).await);
    assert_eq!(now.elapsed(), Duration::ZERO, "turned time did not pass");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_ends_is_an_outage_and_not_the_end_of_the_reconciler() {
    let fake = one_version();
    let policy = Policy {
        tolerate: Duration::from_secs(600),
        ..Policy::default()
    };
    let node = Node::start(&[&fake], &state(), policy).await;
    fake.stall();
    sleep(800).await;
    assert_eq!(node.envelope.status().unwrap_err().kind(), ErrorKind::Unavailable);
    fake.let_go();
    sleep(45).await;
    assert!(node.envelope.status().is_ok(), "it goes on by itself");
}

#[tokio::test(start_paused = true)]
async fn a_read_that_waited_in_vain_for_a_root_key_that_is_away_shows_and_one_given_up_does_not() {
    let fake = one_version();
    let sealed = sealed_elsewhere(&fake, 1).await.remove(0);
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.set_mood(Mood::Queues);
    fake.stall();
    sleep(800).await;
    assert!(node.envelope.health().unwrap().contains("unavailable"));
    let given_up = tokio::time::timeout(Duration::from_secs(1), node.decrypt(&sealed)).await;
    assert!(given_up.is_err() && node.envelope.status().is_ok());
    let in_vain = tokio::time::timeout(Duration::from_secs(3), node.decrypt(&sealed)).await;
    assert!(in_vain.is_err());
    sleep(1).await;
    assert_eq!(node.envelope.status().unwrap_err().kind(), ErrorKind::Unavailable);
    sleep(60).await;
    assert!(node.envelope.status().is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_bad_wrapped_key_is_proof_that_the_root_key_is_well() {
    let fake = one_version();
    let sealed = sealed_elsewhere(&fake, 1).await.remove(0);
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.set_mood(Mood::Away);
    assert!(node.decrypt(&sealed).await.is_err() && node.envelope.status().is_err());
    fake.set_mood(Mood::Good);
    let mut bad = sealed.bytes.clone();
    bad[40] ^= 1;
    assert_eq!(
        node.decrypt_bytes(&bad).await.unwrap_err().kind(),
        ErrorKind::InvalidArgument
    );
    sleep(1).await;
    assert!(node.envelope.status().is_ok());
}

#[tokio::test(start_paused = true)]
async fn decrypts_of_unknown_ids_list_and_do_not_call_a_dead_token() {
    let fake = one_version();
    let stranger = Fake::new();
    stranger.set(9, active_from(START - 1));
    let foreign = sealed_elsewhere(&stranger, 1).await.remove(0);
    let node = Node::start(
        &[&fake],
        &state(),
        Policy {
            max_uses: 10,
            ..Policy::default()
        },
    )
    .await;
    fake.set_mood(Mood::Away);
    sleep(120).await;
    fake.take_calls();
    for _ in 0..33 {
        assert!(node.decrypt(&foreign).await.is_err());
    }
    let calls = fake.take_calls();
    assert!(calls.wrap + calls.unwrap <= 25, "a hundred seconds at most: {calls:?}");
}

#[tokio::test(start_paused = true)]
async fn without_reuse_a_refused_wrap_shows_in_status_with_the_first_encrypt() {
    let fake = one_version();
    let policy = Policy {
        reuse: Reuse::Never,
        ..Policy::default()
    };
    let node = Node::start(&[&fake], &state(), policy).await;
    assert!(node.encrypt().await.is_ok());
    fake.set_mood(Mood::Refuses);
    assert_eq!(node.encrypt().await.unwrap_err().kind(), ErrorKind::Refused);
    assert_eq!(node.envelope.status().unwrap_err().kind(), ErrorKind::Refused);
    fake.set_mood(Mood::Good);
    sleep(11).await;
    assert!(node.envelope.status().is_ok() && node.encrypt().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_first_spare_is_made_as_soon_as_a_version_encrypts() {
    // When the date comes, the pauses of the reconciler are at their longest. The date falls at the beginning or the
    // end of a pause.
    for date in START + 1000..START + 1010 {
        let fake = Fake::new();
        fake.set(1, active_from(date));
        let policy = Policy {
            max_uses: 1,
            ..Policy::default()
        };
        let node = Node::start(&[&fake], &state(), policy).await;
        while node.envelope.status().is_err() {
            sleep(1).await;
        }
        for _ in 0..5 {
            let sealed = tokio::time::timeout(Duration::from_secs(3), node.encrypt()).await;
            assert_eq!(sealed.unwrap().unwrap().key_id, id(1));
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_root_key_that_unwraps_to_wrong_keys_shows_in_status_although_callers_read_all_the_time() {
    let fake = one_version();
    // Each of them causes an unwrap.
    let elsewhere = sealed_elsewhere(&fake, 30).await;
    let policy = Policy::default();
    let interval = policy.probe_interval.as_secs();
    let node = Node::start(&[&fake], &state(), policy).await;
    fake.set_mood(Mood::Lies);
    for read in &elsewhere {
        assert_eq!(node.decrypt(read).await.unwrap_err().kind(), ErrorKind::InvalidArgument);
        sleep(interval / 10).await;
    }
    assert_eq!(node.envelope.status().unwrap_err().kind(), ErrorKind::Refused);
    fake.set_mood(Mood::Good);
    sleep(2 * interval).await;
    assert!(node.envelope.status().is_ok() && node.reads(&elsewhere[0]).await);
}
