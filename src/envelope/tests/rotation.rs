//! Root keys, versions and rotation while a node runs.

use super::*;
use crate::envelope::error::ErrorKind;
use crate::root_key::fake::Mood;
use crate::root_key::fake::id;
use crate::root_key::version::State as VersionState;

const PENDING: VersionState = VersionState::Pending;

fn retired() -> VersionState {
    VersionState::RetiredSince(Timestamp::from_unix(START))
}

#[tokio::test(start_paused = true)]
async fn a_pending_version_is_found_with_the_probe_and_encrypts_when_its_activation_passes() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.set(2, PENDING);
    sleep(61).await;
    assert_eq!(node.envelope.status().unwrap(), id(1));
    fake.set(2, active_from(START + 600));
    sleep(120).await;
    assert_eq!(node.envelope.status().unwrap(), id(1), "its date has not passed");
    sleep(420).await;
    assert_eq!(node.envelope.status().unwrap(), id(2));
    assert_eq!(node.encrypt().await.unwrap().key_id, id(2));
}

#[tokio::test(start_paused = true)]
async fn the_switch_needs_no_token() {
    let (fake, state) = (one_version(), state());
    let node = Node::start(&[&fake], &state, Policy::default()).await;
    fake.set(2, active_from(START + 600));
    sleep(61).await;
    fake.set_mood(Mood::Away);
    sleep(600).await;
    assert_eq!(
        node.envelope.status().unwrap(),
        id(2),
        "the activation fell into an outage"
    );
    assert_eq!(node.encrypt().await.unwrap().key_id, id(2));
}

#[tokio::test(start_paused = true)]
async fn a_version_without_a_proven_data_key_is_not_switched_to() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.set_mood(Mood::Refuses);
    fake.set(2, active_from(START));
    sleep(61).await;
    assert_eq!(node.envelope.status().unwrap(), id(1), "the old version goes on");
    fake.set_mood(Mood::Good);
    sleep(61).await;
    assert_eq!(node.envelope.status().unwrap(), id(2));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_refused_before_its_activation_is_not_switched_to() {
    let fake = Fake::new();
    fake.set(1, active_from(START + 4000));
    let policy = Policy {
        max_age: Duration::from_secs(1200),
        ..Policy::default()
    };
    let node = Node::start(&[&fake], &state(), policy).await;
    sleep(100).await;
    fake.set_mood(Mood::Refuses);
    sleep(700).await;
    let has_data_keys = || !node.envelope.0.lock().rollovers.is_empty();
    assert!(!has_data_keys(), "the one from before would let the switch choose it");
    sleep(3300).await;
    assert_eq!(node.envelope.status().unwrap_err().kind(), ErrorKind::Refused);
    fake.set_mood(Mood::Good);
    sleep(120).await;
    assert!(node.envelope.status().is_ok() && node.encrypt().await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_version_that_stops_working_before_its_date_is_never_reported() {
    let fake = Fake::new();
    fake.set(1, active_from(START + 4000));
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    sleep(3000).await;
    let calls = fake.take_calls();
    assert!((45..=60).contains(&calls.unwrap), "a probe a minute: {calls:?}");
    fake.set_mood(Mood::Lies);
    for _ in 0..2000 {
        sleep(1).await;
        assert!(node.envelope.status().is_err());
    }
    assert_eq!(node.envelope.status().unwrap_err().kind(), ErrorKind::Refused);
    fake.set_mood(Mood::Good);
    sleep(15).await;
    assert_eq!(node.envelope.status().unwrap(), id(1));
}

#[tokio::test(start_paused = true)]
async fn a_decrypt_that_names_an_unknown_id_finds_the_version_at_once() {
    let fake = one_version();
    let replica = fake.replica();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    replica.set(2, active_from(START));
    let other = Node::start(&[&replica], &state(), Policy::default()).await;
    let sealed = other.encrypt().await.unwrap();
    assert_eq!(sealed.key_id, id(2));
    // The store of the first node is a replica that lags by a second.
    let lag = async {
        sleep(1).await;
        fake.copy_version(&replica, 2);
    };
    let (opened, ()) = tokio::join!(node.decrypt(&sealed), lag);
    assert_eq!(opened.unwrap().as_slice(), SEED);
}

#[tokio::test(start_paused = true)]
async fn an_id_that_stays_unknown_is_refused_before_the_callers_deadline_with_few_listings() {
    let fake = one_version();
    let stranger = Fake::new();
    stranger.set(9, active_from(START - 1));
    let foreign = {
        let node = Node::start(&[&stranger], &state(), Policy::default()).await;
        node.encrypt().await.unwrap()
    };
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.take_calls();
    let herd = futures_util::future::join_all((0..100).map(|_| node.decrypt(&foreign))).await;
    assert!(
        herd.iter()
            .all(|opened| opened.as_ref().unwrap_err().kind() == ErrorKind::FailedPrecondition)
    );
    let calls = fake.take_calls();
    assert!(
        (2..=7).contains(&calls.discover),
        "one shared, rate-limited discovery: {calls:?}"
    );
    let now = Instant::now();
    assert!(node.decrypt(&foreign).await.is_err());
    assert_eq!(now.elapsed(), Duration::ZERO, "known to be unknown for a while");
}

#[tokio::test(start_paused = true)]
async fn a_caller_without_time_does_not_make_a_new_version_unknown_for_others() {
    let fake = one_version();
    let replica = fake.replica();
    replica.set(2, active_from(START));
    let sealed = {
        let other = Node::start(&[&replica], &state(), Policy::default()).await;
        other.encrypt().await.unwrap()
    };
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.copy_version(&replica, 2);
    let soon = Instant::now() + Duration::from_millis(50);
    let hurried = node.envelope.decrypt(Purpose::Kms2, &sealed.bytes, None, soon).await;
    assert_eq!(hurried.unwrap_err().kind(), ErrorKind::Unavailable);
    assert!(node.reads(&sealed).await);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_id_is_unavailable_while_discovery_itself_fails() {
    let fake = one_version();
    let sealed = {
        let replica = fake.replica();
        replica.set(2, active_from(START));
        Node::start(&[&replica], &state(), Policy::default())
            .await
            .encrypt()
            .await
            .unwrap()
    };
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.set_mood(Mood::Away);
    assert_eq!(node.decrypt(&sealed).await.unwrap_err().kind(), ErrorKind::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn every_old_version_still_decrypts_after_many_rotations() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let mut all = vec![node.encrypt().await.unwrap()];
    for number in 2..=10 {
        fake.set(number, active_from(node.clock.now().unix()));
        sleep(61).await;
        all.push(node.encrypt().await.unwrap());
    }
    let restarted = Node::start(&[&fake], &state(), Policy::default()).await;
    for (number, sealed) in (1..).zip(&all) {
        assert_eq!(sealed.key_id, id(number));
        assert!(node.reads(sealed).await && restarted.reads(sealed).await);
    }
}

#[tokio::test(start_paused = true)]
async fn status_equals_encrypt_in_key_id_through_a_rotation() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.set(2, active_from(START + 90));
    let mut seen = Vec::new();
    for _ in 0..1000 {
        // No await between the two calls: on one thread no switch can come between them.
        let status = node.envelope.status().unwrap();
        let sealed = node.encrypt().await.unwrap();
        assert_eq!(sealed.key_id, status);
        seen.push(status);
        tokio::time::sleep(Duration::from_millis(150)).await;
    }
    seen.dedup();
    assert_eq!(seen, [id(1), id(2)], "one switch, and never back");
}

#[tokio::test(start_paused = true)]
async fn the_key_id_never_goes_back_when_the_clock_does() {
    let (fake, state) = (one_version(), state());
    fake.set(2, active_from(START - 50));
    let node = Node::start(&[&fake], &state, Policy::default()).await;
    assert_eq!(node.envelope.status().unwrap(), id(2));
    node.clock.set_calendar(Timestamp::from_unix(60));
    sleep(300).await;
    assert_eq!(node.envelope.status().unwrap(), id(2));
    drop(node);
    let in_1970 = Clock::turned(Timestamp::from_unix(60));
    let restarted = Node::start_at(&[&fake], &state, Policy::default(), in_1970).await;
    assert_eq!(
        restarted.envelope.status().unwrap(),
        id(2),
        "the high-water mark outlives the process"
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_mark_a_clock_in_1970_is_a_refusal_until_it_is_set() {
    let fake = one_version();
    let in_1970 = Clock::turned(Timestamp::from_unix(60));
    let node = Node::start_at(&[&fake], &state(), Policy::default(), in_1970).await;
    let refusal = node.envelope.status().unwrap_err();
    assert_eq!(refusal.kind(), ErrorKind::Refused);
    assert!(refusal.to_string().contains("1970-01-01T00:01"), "{refusal}");
    node.clock.set_calendar(Timestamp::from_unix(START));
    sleep(11).await;
    assert_eq!(node.envelope.status().unwrap(), id(1));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_lacks_the_reported_version_is_refused_until_the_loss_is_accepted() {
    let (fake, state) = (one_version(), state());
    let old = {
        let node = Node::start(&[&fake], &state, Policy::default()).await;
        let old = node.encrypt().await.unwrap();
        fake.set(2, active_from(START));
        sleep(61).await;
        assert_eq!(node.envelope.status().unwrap(), id(2));
        // A backup from before the rotation is restored.
        let backup = fake.replica();
        fake.remove(2);
        sleep(61).await;
        let refusal = node.envelope.status().unwrap_err();
        assert!(refusal.kind() == ErrorKind::Refused && refusal.to_string().contains(&id(2).to_string()));
        assert_eq!(node.encrypt().await.unwrap_err().kind(), ErrorKind::Refused);
        assert!(node.reads(&old).await, "other versions go on decrypting");
        fake.copy_version(&backup, 2);
        sleep(11).await;
        assert_eq!(
            node.envelope.status().unwrap(),
            id(2),
            "brought back, it is found within 10 s"
        );
        fake.remove(2);
        old
    };
    let node = Node::start(&[&fake], &state, Policy::default()).await;
    assert_eq!(
        node.envelope.status().unwrap_err().kind(),
        ErrorKind::Refused,
        "also after a restart"
    );
    assert!(node.reads(&old).await);
    HighWaterFile::of(state.path())
        .forget(&"store-0".parse().unwrap())
        .unwrap();
    sleep(11).await;
    assert_eq!(
        node.envelope.status().unwrap(),
        id(1),
        "the running daemon sees the operator's word"
    );
}

#[tokio::test(start_paused = true)]
async fn a_damaged_mark_is_a_refusal_and_reads_go_on() {
    let (fake, state) = (one_version(), state());
    let sealed = sealed_elsewhere(&fake, 1).await.remove(0);
    crate::files::replace(&state.path().join("primary"), b"{ damaged").unwrap();
    let node = Node::start(&[&fake], &state, Policy::default()).await;
    assert_eq!(node.envelope.status().unwrap_err().kind(), ErrorKind::Refused);
    assert!(node.reads(&sealed).await);
}

#[tokio::test(start_paused = true)]
async fn a_primary_that_cannot_be_written_down_is_not_reported() {
    let (fake, state) = (one_version(), state());
    let node = Node::start(&[&fake], &state, Policy::default()).await;
    // A directory in the way simulates a full disk, since root may write everywhere.
    std::fs::create_dir_all(state.path().join("primary.new/full")).unwrap();
    fake.set(2, active_from(START));
    sleep(61).await;
    assert_eq!(node.envelope.status().unwrap(), id(1));
    assert_eq!(node.encrypt().await.unwrap().key_id, id(1));
    std::fs::remove_dir_all(state.path().join("primary.new")).unwrap();
    sleep(61).await;
    assert_eq!(node.envelope.status().unwrap(), id(2));
}

#[tokio::test(start_paused = true)]
async fn retiring_evicts_the_versions_data_keys_and_restoring_takes_it_back() {
    let fake = one_version();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let old = node.encrypt().await.unwrap();
    fake.set(2, active_from(START));
    sleep(61).await;
    assert!(node.reads(&old).await);
    fake.set(1, retired());
    sleep(61).await;
    assert!(matches!(node.decrypt(&old).await, Err(EnvelopeError::Retired(_))));
    let ids: Vec<_> = node
        .envelope
        .0
        .lock()
        .rollovers
        .keys()
        .map(|(id, _)| id.clone())
        .collect();
    assert_eq!(ids, [id(2)]);
    fake.set(1, active_from(START - 100_000));
    sleep(61).await;
    assert!(node.reads(&old).await);
    assert_eq!(node.envelope.status().unwrap(), id(2));
}

#[tokio::test(start_paused = true)]
async fn a_root_key_without_versions_says_what_to_do() {
    let fake = Fake::new();
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    let refusal = node.envelope.status().unwrap_err();
    assert!(refusal.to_string().contains("keys create"), "{refusal}");
    fake.set(1, active_from(START));
    sleep(11).await;
    assert_eq!(node.envelope.status().unwrap(), id(1));
}

#[tokio::test(start_paused = true)]
async fn of_two_versions_with_one_number_all_nodes_choose_the_same() {
    let fake = one_version();
    fake.set_with_number(7, 2, active_from(START - 60));
    fake.set_with_number(8, 2, active_from(START - 120));
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    assert_eq!(node.envelope.status().unwrap(), id(8), "the higher id");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_was_never_listed_lacks_nothing() {
    let (fake, state) = (one_version(), state());
    drop(Node::start(&[&fake], &state, Policy::default()).await);
    fake.set_mood(Mood::Away);
    let node = Node::start(&[&fake], &state, Policy::default()).await;
    let unavailable = node.envelope.status().unwrap_err();
    assert_eq!(unavailable.kind(), ErrorKind::Unavailable);
    assert!(!unavailable.to_string().contains("accept-loss"), "{unavailable}");
}
