//! Listings that callers cause: their share of a token's time, and how soon they find a version.

use std::sync::Mutex;

use async_trait::async_trait;

use super::*;
use crate::envelope::error::ErrorKind;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::fake::id;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::root_key::waiters::Waiters;
use crate::secret::Key;

/// A store with slow listings, like a partition with thousands of keys.
#[derive(Debug)]
struct Large {
    fake: Arc<Fake>,
    takes: Duration,
    /// When each listing began.
    lists: Mutex<Vec<Instant>>,
}

impl Large {
    fn new(fake: &Arc<Fake>, takes: Duration) -> Arc<Self> {
        Arc::new(Self {
            fake: fake.clone(),
            takes,
            lists: Mutex::default(),
        })
    }

    /// The number of listings that began since the last call.
    fn take_lists(&self) -> u32 {
        let lists = std::mem::take(&mut *self.lists.lock().unwrap());
        u32::try_from(lists.len()).unwrap()
    }
}

#[async_trait]
impl RootKey for Large {
    async fn discover(&self) -> Result<Vec<Version>, Error> {
        self.lists.lock().unwrap().push(Instant::now());
        tokio::time::sleep(self.takes).await;
        self.fake.discover().await
    }

    async fn wrap(&self, id: &KeyId, data_key: &Key, waiters: &Waiters) -> Result<Wrapped, Error> {
        self.fake.wrap(id, data_key, waiters).await
    }

    async fn unwrap(&self, id: &KeyId, wrapped: &Wrapped, waiters: &Waiters) -> Result<Key, Error> {
        self.fake.unwrap(id, wrapped, waiters).await
    }
}

/// A node with such a store, once it serves.
async fn node(large: &Arc<Large>) -> Node {
    let (state, clock) = (state(), Clock::turned(Timestamp::from_unix(START)));
    let policy = Policy {
        // No listing is due by itself in these tests.
        probe_interval: Duration::from_secs(24 * 3600),
        max_uses: 10,
        ..Policy::default()
    };
    let stores = vec![Arc::clone(large) as Arc<dyn RootKey>];
    let node = Node::start_on(stores, &state, policy, clock, FileThread::in_place()).await;
    while node.envelope.status().is_err() {
        sleep(1).await;
    }
    node
}

/// A payload under an id that no store has.
async fn stranger() -> SealedPayload {
    let fake = Fake::new();
    fake.set(9, active_from(START - 1));
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    node.encrypt().await.unwrap()
}

/// The same payload under another id.
fn renamed(stranger: &SealedPayload, number: u32) -> Vec<u8> {
    let mut bytes = stranger.bytes.clone();
    bytes[4..8].copy_from_slice(&number.to_be_bytes());
    bytes
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_unknown_ids_gets_a_tenth_of_a_tokens_time_at_most() {
    for takes in [
        Duration::from_millis(20),
        Duration::from_secs(1),
        Duration::from_secs(5),
    ] {
        let large = Large::new(&one_version(), takes);
        let (node, stranger) = (node(&large).await, stranger().await);
        large.take_lists();
        let begun = Instant::now();
        let mut number = 0;
        while begun.elapsed() < Duration::from_secs(3600) {
            // Four callers, with a new id each time.
            let ids = (0..4).map(|caller| renamed(&stranger, number + caller));
            let calls = ids.map(async |bytes| node.decrypt_bytes(&bytes).await.unwrap_err());
            futures_util::future::join_all(calls).await;
            number += 4;
        }
        let busy = takes * large.take_lists();
        assert!(busy * 10 <= begun.elapsed() + takes * 10, "{takes:?} each: {busy:?}");
        assert!(busy > Duration::ZERO, "they are asked for");
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_made_elsewhere_is_found_by_the_next_list_of_a_quick_token() {
    let fake = one_version();
    let large = Large::new(&fake, Duration::from_millis(5));
    let (node, stranger) = (node(&large).await, stranger().await);
    let replica = fake.replica();
    replica.set(2, active_from(START));
    let sealed = {
        let other = Node::start(&[&replica], &state(), Policy::default()).await;
        other.encrypt().await.unwrap()
    };
    // A listing has just ended.
    assert!(node.decrypt_bytes(&renamed(&stranger, 1)).await.is_err());
    fake.copy_version(&replica, 2);
    let begun = Instant::now();
    assert!(node.reads(&sealed).await);
    assert!(begun.elapsed() <= Duration::from_millis(600), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn between_the_lists_of_a_slow_token_the_operator_is_not_kept_waiting_nor_is_a_data_key() {
    let fake = one_version();
    let large = Large::new(&fake, Duration::from_secs(5));
    let (node, stranger) = (node(&large).await, stranger().await);
    sleep(60).await;
    large.take_lists();
    let first = node.decrypt_bytes(&renamed(&stranger, 1)).await.unwrap_err();
    assert_eq!(first.kind(), ErrorKind::Unavailable, "there was no time to list");
    sleep(10).await;
    assert_eq!(large.take_lists(), 1);
    // From here on the next listing for a caller is 50 s away.
    assert!(node.decrypt_bytes(&renamed(&stranger, 2)).await.is_err());
    fake.take_calls();
    for _ in 0..5 {
        node.encrypt().await.unwrap();
    }
    sleep(1).await;
    assert_eq!(fake.take_calls().wrap, 1, "the next data key, at half of its uses");
    sleep(10).await;
    large.take_lists();
    fake.set(2, active_from(START));
    node.envelope.refresh();
    sleep(7).await;
    assert_eq!(large.take_lists(), 1);
    assert_eq!(node.envelope.status().unwrap(), id(2));
}

#[tokio::test(start_paused = true)]
async fn a_store_that_hangs_does_not_delay_the_lists_of_another() {
    let (fake, hangs) = (one_version(), Fake::new());
    let (quick, hung) = (
        Large::new(&fake, Duration::from_millis(5)),
        // Each listing of it ends after 30 s.
        Large::new(&hangs, Duration::from_secs(24 * 3600)),
    );
    let policy = Policy {
        probe_interval: Duration::from_secs(24 * 3600),
        ..Policy::default()
    };
    let clock = Clock::turned(Timestamp::from_unix(START));
    let stores = [&quick, &hung].map(|store| Arc::clone(store) as Arc<dyn RootKey>);
    let node = Node::start_on(stores.to_vec(), &state(), policy, clock, FileThread::in_place()).await;
    sleep(40).await;
    let stranger = stranger().await;
    hung.take_lists();
    for number in 2..20 {
        let replica = fake.replica();
        replica.set(number, active_from(START + 1_000_000));
        fake.copy_version(&replica, number);
        let mut sealed = stranger.bytes.clone();
        sealed[4..20].copy_from_slice(&[u8::try_from(number).unwrap(); 16]);
        // The payload is not authentic, but the version is found.
        let refused = node.decrypt_bytes(&sealed).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
    }
    assert_eq!(hung.take_lists(), 0, "its rest goes on");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(3600) {
        node.decrypt_bytes(&renamed(&stranger, 1)).await.unwrap_err();
    }
    let lists = hung.take_lists();
    assert!((1..=11).contains(&lists), "{lists} lists of 30 s each in an hour");
}
