//! Three machines with a daemon and an API server each, one etcd, and the events that happen to them.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::rc::Rc;
use std::time::Duration;

use dekhand::clock::Clock;
use dekhand::clock::Timestamp;
use dekhand::root_key::high_water::HighWater;
use dekhand::root_key::high_water::HighWaterFile;
use dekhand::root_key::id::KeyId;
use tempfile::TempDir;
use tokio::sync::Notify;
use tokio::time::Instant;
use tonic::Code;

use crate::api::ApiServer;
use crate::chance::hash;
use crate::daemon::Daemon;
use crate::daemon::Sealed;
use crate::daemon::root_key_name;
use crate::link::Link;
use crate::operator;
use crate::plan::Setup;
use crate::plan::Step;
use crate::record::Record;
use crate::store::SharedStores;
use crate::store::Stores;
use crate::store::lock;

/// The true time when a schedule starts.
pub(crate) const START: u64 = 1_800_000_000;

pub(crate) const NODES: std::ops::Range<usize> = 0..3;

/// The state shared by the API servers.
#[derive(Debug, Default)]
pub(crate) struct Etcd {
    /// Every seed that was ever used for storing.
    pub(crate) deks: Vec<Dek>,
    /// The seed of each stored object, by index.
    pub(crate) objects: Vec<Option<usize>>,
}

/// A sealed seed of an API server.
#[derive(Clone, Debug)]
pub(crate) struct Dek {
    pub(crate) sealed: Sealed,
    pub(crate) seed: [u8; 32],
    pub(crate) id: KeyId,
}

/// A broken invariant.
#[derive(Clone, Debug)]
pub(crate) struct Violation {
    pub(crate) invariant: &'static str,
    pub(crate) what: String,
}

/// A machine.
pub(crate) struct Node {
    pub(crate) state: RefCell<TempDir>,
    pub(crate) clock: RefCell<Clock>,
    pub(crate) daemon: RefCell<Option<Daemon>>,
    pub(crate) api: RefCell<Option<Rc<ApiServer>>>,
    pub(crate) record: RefCell<Record>,
    known_mark: RefCell<KnownMark>,
}

/// A mark, and the inode and time of its file.
type KnownMark = (Option<(u64, i64)>, Option<HighWater>);

impl Node {
    /// The highest reported version in its state directory. Read again when the file was replaced.
    pub(crate) fn mark(&self) -> Option<HighWater> {
        let found = std::fs::metadata(self.state.borrow().path().join("primary")).ok();
        let stamp = found.map(|file| (file.ino(), file.mtime_nsec()));
        let mut known = self.known_mark.borrow_mut();
        if known.0 != stamp {
            *known = (stamp, self.high_water().read(&root_key_name()).unwrap());
        }
        known.1.clone()
    }

    pub(crate) fn high_water(&self) -> HighWaterFile {
        HighWaterFile::of(self.state.borrow().path())
    }
}

/// The whole world.
pub(crate) struct World {
    pub(crate) setup: Setup,
    pub(crate) start: Instant,
    pub(crate) stores: SharedStores,
    pub(crate) nodes: [Node; 3],
    pub(crate) etcd: RefCell<Etcd>,
    /// Locks of keyrings, by replica: commands on a keyring take turns.
    pub(crate) turns: [tokio::sync::Mutex<()>; 3],
    pub(crate) violation: RefCell<Option<Violation>>,
    pub(crate) violated: Notify,
    pub(crate) story: Option<RefCell<Vec<String>>>,
    pub(crate) calls: Cell<u64>,
    /// A digest of the outcomes and times of all calls.
    pub(crate) digest: Cell<u64>,
    pub(crate) switches: Cell<u64>,
}

/// A directory in memory, if there is one: thousands of marks are synced.
fn state_directory() -> TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

impl World {
    pub(crate) fn new(setup: Setup, tells: bool) -> Rc<Self> {
        let stores = Stores::new(setup.seed, setup.topology, setup.flavour);
        let objects = vec![None; setup.objects];
        let nodes = [0, 1, 2].map(|node: usize| Node {
            state: RefCell::new(state_directory()),
            clock: RefCell::new(Clock::turned_with(
                off(START, setup.skew[node]),
                clock_seed(setup.seed, node),
            )),
            daemon: RefCell::new(None),
            api: RefCell::new(None),
            record: RefCell::new(Record::new()),
            known_mark: RefCell::default(),
        });
        Rc::new(Self {
            setup,
            start: Instant::now(),
            stores,
            nodes,
            etcd: RefCell::new(Etcd {
                deks: Vec::new(),
                objects,
            }),
            turns: [(); 3].map(tokio::sync::Mutex::new),
            violation: RefCell::new(None),
            violated: Notify::new(),
            story: tells.then(RefCell::default),
            calls: Cell::new(0),
            digest: Cell::new(0),
            switches: Cell::new(0),
        })
    }

    /// The correct calendar.
    pub(crate) fn true_time(&self) -> u64 {
        START + self.start.elapsed().as_secs()
    }

    /// Adds a line to the story, if it will be printed.
    pub(crate) fn tell(&self, line: impl FnOnce() -> String) {
        if let Some(story) = &self.story {
            story.borrow_mut().push(format!("{}  {}", self.moment(), line()));
        }
    }

    /// Counts a finished call.
    pub(crate) fn count(&self, node: usize, code: Code) {
        self.calls.set(self.calls.get() + 1);
        let elapsed = u64::try_from(self.start.elapsed().as_nanos()).unwrap_or_default();
        let parts = [self.digest.get(), elapsed, node as u64, code as u64];
        self.digest.set(hash(&parts));
    }

    fn moment(&self) -> String {
        let elapsed = self.start.elapsed();
        let (seconds, milliseconds) = (elapsed.as_secs(), elapsed.subsec_millis());
        let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
        format!("{hours}:{minutes:02}:{:02}.{milliseconds:03}", seconds % 60)
    }

    /// Records a broken invariant. Only the first one counts.
    pub(crate) fn violate(&self, invariant: &'static str, what: impl FnOnce() -> String) {
        let mut violation = self.violation.borrow_mut();
        if violation.is_none() {
            let what = what();
            self.tell(|| format!("BROKEN: {invariant}: {what}"));
            *violation = Some(Violation { invariant, what });
            self.violated.notify_one();
        }
    }

    /// `v2 c09f4a51`, for printing.
    pub(crate) fn name_of(&self, id: &KeyId) -> String {
        let short: String = id.to_string().chars().take(6).collect();
        let stores = lock(&self.stores);
        stores.known(id).map_or_else(
            || format!("unknown {short}"),
            |known| format!("{} {short}", known.number),
        )
    }

    /// Every version that a value in etcd needs.
    pub(crate) fn needed(&self) -> BTreeSet<KeyId> {
        let etcd = self.etcd.borrow();
        let stored = etcd.objects.iter().flatten();
        stored.map(|dek| etcd.deks[*dek].id.clone()).collect()
    }

    /// Whether a version is in no store and no backup.
    pub(crate) fn is_gone(&self, id: &KeyId) -> bool {
        let everything = lock(&self.stores).everything();
        everything.iter().all(|held| held.version.id != *id)
    }

    pub(crate) fn start_daemon(&self, node: usize) {
        let machine = &self.nodes[node];
        let daemon = {
            let (state, clock) = (machine.state.borrow(), machine.clock.borrow());
            let link = Link::new(&self.stores, node);
            Daemon::start(node, link, self.setup.policy.clone(), state.path(), &clock)
        };
        *machine.daemon.borrow_mut() = Some(daemon);
        machine.record.borrow_mut().daemon_started();
    }

    fn stop_daemon(&self, node: usize) {
        *self.nodes[node].daemon.borrow_mut() = None;
    }

    pub(crate) fn start_api(self: &Rc<Self>, node: usize) {
        self.stop_api(node);
        let api = ApiServer::start(self, node);
        *self.nodes[node].api.borrow_mut() = Some(api);
    }

    fn stop_api(&self, node: usize) {
        if let Some(api) = self.nodes[node].api.borrow_mut().take() {
            api.stop();
        }
    }

    fn api(&self, node: usize) -> Option<Rc<ApiServer>> {
        self.nodes[node].api.borrow().clone()
    }

    /// Applies an event.
    pub(crate) fn perform(self: &Rc<Self>, step: &Step) {
        self.tell(|| format!("{step:?}"));
        self.look();
        let machine = |node: usize| &self.nodes[node];
        match *step {
            Step::Mood(node, mood) => {
                lock(&self.stores).moods[node] = mood;
                let (well, now) = (self.excuse(node).is_none(), Instant::now());
                machine(node).record.borrow_mut().mood(mood, well, now);
            }
            Step::Stop(node) => self.stop_daemon(node),
            Step::Start { node, keeps_state } => {
                if machine(node).daemon.borrow().is_none() {
                    if !keeps_state {
                        *machine(node).state.borrow_mut() = state_directory();
                        machine(node).record.borrow_mut().forgive();
                    }
                    self.start_daemon(node);
                }
            }
            Step::Reboot { node, in_1970 } => {
                self.stop_api(node);
                self.stop_daemon(node);
                let now = machine(node).clock.borrow().now();
                let calendar = if in_1970 { Timestamp::from_unix(30) } else { now };
                *machine(node).clock.borrow_mut() = Clock::turned_with(calendar, clock_seed(self.setup.seed, node));
                self.start_daemon(node);
                self.start_api(node);
            }
            Step::SetClock(node, skew) => {
                machine(node).clock.borrow().set_calendar(off(self.true_time(), skew));
                machine(node).record.borrow_mut().clock_set();
            }
            Step::RestartApi(node) => self.start_api(node),
            Step::ReloadApi(node) => self.with_api(node, async |api| api.reload().await),
            Step::List(node) => self.with_api(node, async |api| {
                api.list().await;
            }),
            Step::Migrate(node) => self.with_api(node, async |api| api.migrate().await),
            Step::Part(replica) => lock(&self.stores).apart[replica] = true,
            Step::Join(replica) => lock(&self.stores).apart[replica] = false,
            Step::BackUp(node) => lock(&self.stores).back_up(node),
            Step::Restore(node, but) => self.restore(node, but),
            Step::BringBack(node) => {
                let mut stores = lock(&self.stores);
                let everything = stores.everything();
                stores.restore(node, &everything);
            }
            Step::Keys(node, command) => {
                let world = self.clone();
                tokio::task::spawn_local(async move { operator::run(&world, node, command).await });
            }
        }
        self.look();
    }

    fn with_api(&self, node: usize, act: impl AsyncFnOnce(Rc<ApiServer>) + 'static) {
        if let Some(api) = self.api(node) {
            let client = api.clone();
            api.keep(tokio::task::spawn_local(async move { act(client).await }));
        }
    }

    fn restore(&self, node: usize, but: usize) {
        let mut stores = lock(&self.stores);
        let Some(place) = stores.backups.len().checked_sub(1 + but) else {
            return;
        };
        let backup = stores.backups[place].clone();
        // Replaced files are kept: they may be restored.
        stores.back_up(node);
        stores.restore(node, &backup);
    }

    /// Carries changes between replicas. Never returns.
    pub(crate) async fn carry(self: Rc<Self>) {
        let mut waiting = Vec::new();
        loop {
            let now = self.start.elapsed();
            let fresh = std::mem::take(&mut lock(&self.stores).outbox);
            for (from, to, change) in fresh {
                let (least, most) = self.setup.lag;
                let draw = hash(&[self.setup.seed, 11, from as u64, to as u64, now.as_secs()]);
                waiting.push((
                    now + Duration::from_secs(least + draw % (most - least + 1)),
                    from,
                    to,
                    change,
                ));
            }
            let mut late = Vec::new();
            let mut blocked = [[false; 3]; 3];
            for (due, from, to, change) in std::mem::take(&mut waiting) {
                let apart = {
                    let stores = lock(&self.stores);
                    stores.apart[from] || stores.apart[to]
                };
                // The changes between two replicas keep their order.
                if apart || due > now || blocked[from][to] {
                    blocked[from][to] = true;
                    late.push((due, from, to, change));
                    continue;
                }
                self.look();
                lock(&self.stores).apply(to, change);
                self.look();
            }
            waiting = late;
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    }
}

/// A seed for each node, so that nodes wait for different times.
fn clock_seed(seed: u64, node: usize) -> u64 {
    hash(&[seed, 31, node as u64])
}

/// A calendar with an error of this many seconds.
pub(crate) fn off(true_time: u64, skew: i64) -> Timestamp {
    Timestamp::from_unix(true_time.saturating_add_signed(skew))
}
