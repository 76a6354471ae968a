//! A switch whose high-water mark takes long to be written, and changes of the version meanwhile.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use async_trait::async_trait;

use super::*;
use crate::crypto::suite::Suite;
use crate::envelope::state::HighWaterRead;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::fake::id;
use crate::root_key::high_water::HighWater;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::root_key::waiters::Waiters;
use crate::secret::Key;

/// A store that refuses wraps under version 2 on command.
#[derive(Debug)]
struct Strict {
    fake: Arc<Fake>,
    refuses: std::sync::atomic::AtomicBool,
}

impl Strict {
    fn new(fake: &Arc<Fake>) -> Arc<Self> {
        Arc::new(Self {
            fake: fake.clone(),
            refuses: false.into(),
        })
    }

    fn refuse(&self, refuses: bool) {
        self.refuses.store(refuses, Ordering::Relaxed);
    }
}

#[async_trait]
impl RootKey for Strict {
    async fn discover(&self) -> Result<Vec<Version>, Error> {
        self.fake.discover().await
    }

    async fn wrap(&self, of: &KeyId, data_key: &Key, waiters: &Waiters) -> Result<Wrapped, Error> {
        if self.refuses.load(Ordering::Relaxed) && *of == id(2) {
            return Err(Error::new(Kind::Refusal, "version 2 permits no wrap"));
        }
        self.fake.wrap(of, data_key, waiters).await
    }

    async fn unwrap(&self, id: &KeyId, wrapped: &Wrapped, waiters: &Waiters) -> Result<Key, Error> {
        self.fake.unwrap(id, wrapped, waiters).await
    }
}

/// The time that the disk takes for a job, in milliseconds.
type Pace = Arc<AtomicU64>;

async fn start(store: &Arc<Strict>, state: &Arc<TempDir>, pace: &Pace) -> Node {
    let clock = Clock::turned(Timestamp::from_unix(START));
    let pace = pace.clone();
    let disk = FileThread::turned(move || Duration::from_millis(pace.load(Ordering::Relaxed)));
    let stores = vec![Arc::clone(store) as Arc<dyn RootKey>];
    Node::start_on(stores, state, Policy::default(), clock, disk).await
}

/// A node that encrypts under version 1 and has begun to record version 2, which takes `takes` milliseconds.
async fn writing(takes: u64) -> (Arc<Strict>, Arc<TempDir>, Pace, Node) {
    let fake = one_version();
    fake.set(2, active_from(START + 10));
    let (strict, state, pace) = (Strict::new(&fake), state(), Pace::default());
    let node = start(&strict, &state, &pace).await;
    sleep(5).await;
    pace.store(takes, Ordering::Relaxed);
    sleep(6).await;
    assert_eq!(
        node.envelope.0.lock().written_ahead,
        Some(high_water_of(2)),
        "the write has begun"
    );
    assert_eq!(node.envelope.status().unwrap(), id(1));
    (strict, state, pace, node)
}

/// Makes the reconciler want data keys of another suite, so that it wraps under every version.
fn want_data_keys(node: &Node) {
    node.envelope.set_policy(Policy {
        suite: Suite::A256CbcHs512,
        ..Policy::default()
    });
}

fn high_water_of(number: u16) -> HighWater {
    HighWater {
        number: number.try_into().unwrap(),
        id: id(u8::try_from(number).unwrap()),
    }
}

fn high_water(state: &TempDir) -> Option<HighWater> {
    HighWaterFile::of(state.path())
        .read(&"store-0".parse().unwrap())
        .unwrap()
}

/// For this many seconds, checks that the version that Status reports encrypts.
async fn agree_for(node: &Node, seconds: u64, expected: u8) {
    for _ in 0..seconds * 10 {
        assert_eq!(node.envelope.status().unwrap(), id(expected));
        assert_eq!(node.encrypt().await.unwrap().key_id, id(expected));
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_version_that_is_refused_while_it_is_written_down_does_not_become_primary() {
    let (strict, state, pace, node) = writing(3500).await;
    strict.refuse(true);
    want_data_keys(&node);
    agree_for(&node, 10, 1).await;
    assert_eq!(
        high_water(&state),
        Some(high_water_of(1)),
        "what was not reported is no high-water mark"
    );
    drop(node);
    let restarted = start(&strict, &state, &pace).await;
    sleep(10).await;
    agree_for(&restarted, 1, 1).await;
    // It becomes primary as soon as wraps under it are permitted.
    strict.refuse(false);
    sleep(70).await;
    agree_for(&restarted, 1, 2).await;
    assert_eq!(high_water(&state), Some(high_water_of(2)));
}

#[tokio::test(start_paused = true)]
async fn a_version_that_leaves_the_store_while_it_is_written_down_does_not_become_primary() {
    let (strict, state, pace, node) = writing(3500).await;
    strict.fake.remove(2);
    node.envelope.refresh();
    agree_for(&node, 10, 1).await;
    assert_eq!(high_water(&state), Some(high_water_of(1)));
    drop(node);
    let restarted = start(&strict, &state, &pace).await;
    sleep(10).await;
    agree_for(&restarted, 1, 1).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_gets_a_later_date_while_it_is_written_down_encrypts_from_that_date_on() {
    let (strict, state, _pace, node) = writing(3500).await;
    strict.fake.set(2, active_from(START + 100));
    node.envelope.refresh();
    agree_for(&node, 80, 1).await;
    assert_eq!(high_water(&state), Some(high_water_of(1)));
    sleep(20).await;
    agree_for(&node, 1, 2).await;
}

#[tokio::test(start_paused = true)]
async fn a_version_that_stays_good_while_it_is_written_down_becomes_primary() {
    let (_strict, state, _pace, node) = writing(3500).await;
    want_data_keys(&node);
    sleep(4).await;
    agree_for(&node, 5, 2).await;
    assert_eq!(high_water(&state), Some(high_water_of(2)));
}

#[tokio::test(start_paused = true)]
async fn a_first_version_that_leaves_the_store_while_it_is_written_down_is_nowhere_called_reported() {
    let (strict, state, pace) = (Strict::new(&one_version()), state(), Pace::default());
    pace.store(3500, Ordering::Relaxed);
    let node = start(&strict, &state, &pace).await;
    while node.envelope.0.lock().written_ahead.is_none() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    // While no version encrypts, the reconciler lists again at once.
    strict.fake.remove(1);
    sleep(30).await;
    let refusal = node.envelope.status().unwrap_err().to_string();
    assert!(refusal.contains("keys create"), "{refusal}");
    assert_eq!(high_water(&state), None);
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_lands_after_the_switch_has_given_up_on_the_disk_is_taken_back() {
    let (strict, state, pace, node) = writing(12_000).await;
    pace.store(0, Ordering::Relaxed);
    strict.refuse(true);
    want_data_keys(&node);
    agree_for(&node, 20, 1).await;
    assert_eq!(high_water(&state), Some(high_water_of(1)));
}

/// The log lines of the test that holds this.
#[derive(Clone, Default)]
struct Lines(Arc<std::sync::Mutex<Vec<u8>>>);

impl Lines {
    fn collect() -> (Self, tracing::subscriber::DefaultGuard) {
        let lines = Self::default();
        let writer = lines.clone();
        let subscriber = tracing_subscriber::fmt().with_ansi(false);
        let subscriber = subscriber.with_writer(move || writer.clone()).finish();
        (lines, tracing::subscriber::set_default(subscriber))
    }

    fn count(&self, sentence: &str) -> usize {
        let lines = self.0.lock().unwrap();
        String::from_utf8_lossy(&lines).matches(sentence).count()
    }
}

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

const NOT_TAKEN_BACK: &str = "names a version that does not encrypt, and cannot be corrected";
const NOT_WRITTEN: &str = "the new primary cannot be recorded";
const OUTDATED: &str = "this version was refused, left the store or got another date";

/// A node that encrypts under version 1, whose file names version 2, and whose disk is full.
async fn ahead_on_a_full_disk() -> (Arc<Strict>, Arc<TempDir>, Node) {
    let (strict, state, _pace, node) = writing(3500).await;
    strict.fake.remove(2);
    node.envelope.refresh();
    while high_water(&state) != Some(high_water_of(2)) {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // A directory in the way simulates a full disk, since root may write everywhere.
    std::fs::create_dir_all(state.path().join("primary.new/full")).unwrap();
    agree_for(&node, 10, 1).await;
    (strict, state, node)
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_cannot_be_taken_back_hides_no_loss_of_the_primary() {
    let (strict, state, node) = ahead_on_a_full_disk().await;
    let other = strict.fake.replica();
    strict.fake.remove(1);
    node.envelope.refresh();
    sleep(30).await;
    for _ in 0..100 {
        let refusal = node.envelope.status().unwrap_err().to_string();
        let loss = format!(
            "version v1 with id {}, which this node has reported as primary, is missing",
            id(1)
        );
        assert!(
            refusal.contains(&loss),
            "not another reason with each attempt: {refusal}"
        );
        assert!(node.encrypt().await.is_err());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    // The version returns before the disk does.
    strict.fake.copy_version(&other, 1);
    sleep(30).await;
    let refusal = node.envelope.status().unwrap_err().to_string();
    assert!(refusal.contains(NOT_TAKEN_BACK), "{refusal}");
    std::fs::remove_dir_all(state.path().join("primary.new")).unwrap();
    sleep(30).await;
    agree_for(&node, 1, 1).await;
    assert_eq!(high_water(&state), Some(high_water_of(1)));
}

#[tokio::test(start_paused = true)]
async fn a_mark_that_cannot_be_taken_back_is_not_called_a_new_primary() {
    let (lines, _guard) = Lines::collect();
    let (_strict, _state, node) = ahead_on_a_full_disk().await;
    assert_eq!(lines.count(NOT_WRITTEN), 0);
    assert!(node.envelope.health().unwrap().contains(NOT_TAKEN_BACK));
}

#[tokio::test(start_paused = true)]
async fn a_version_whose_mark_became_unreadable_while_it_was_written_down_is_not_called_refused() {
    let (lines, _guard) = Lines::collect();
    let fake = Fake::new();
    fake.set(1, active_from(START + 1000));
    let (state, pace) = (state(), Pace::default());
    let node = start(&Strict::new(&fake), &state, &pace).await;
    // The high-water mark is read once more, which takes longer than the limit. The write of version 1's mark waits
    // behind it.
    pace.store(10_500, Ordering::Relaxed);
    node.envelope.refresh();
    sleep(1).await;
    node.clock.set_calendar(Timestamp::from_unix(START + 2000));
    sleep(3).await;
    assert_eq!(node.envelope.0.lock().written_ahead, Some(high_water_of(1)));
    pace.store(0, Ordering::Relaxed);
    while node.envelope.0.lock().high_water != HighWaterRead::Unread {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert_eq!(high_water(&state), None, "the write is under way");
    sleep(30).await;
    agree_for(&node, 1, 1).await;
    assert_eq!(lines.count(OUTDATED), 0);
}
