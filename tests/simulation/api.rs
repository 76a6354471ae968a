//! A model of kube-apiserver's KMS v2 client, with the timings of its source.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::rc::Weak;
use std::time::Duration;

use dekhand::root_key::id::KeyId;
use tokio::task::JoinHandle;
use tokio::task::spawn_local;
use tokio::time::Instant;
use tokio::time::sleep;
use tonic::Code;

use crate::chance::Chance;
use crate::chance::hash;
use crate::connection::Connection;
use crate::daemon::Failure;
use crate::world::Dek;
use crate::world::World;

/// The intervals of Status calls while Status is ok and while it fails.
const POLL: Duration = Duration::from_secs(60);
pub(crate) const POLL_FAILING: Duration = Duration::from_secs(10);
/// The times for which the result of a health check is used, good or failed.
const HEALTH_OK: Duration = Duration::from_secs(20);
const HEALTH_FAILED: Duration = Duration::from_secs(3);
/// Seeds may write for this long after the last good Status.
const SEED: Duration = Duration::from_secs(180);
/// Unwrapped seeds are cached for this long.
const CACHE: Duration = Duration::from_secs(24 * 3600);

/// The API server has a seed this long after its start, if its daemon is well.
const STARTING: Duration = Duration::from_secs(30);

/// An API server.
pub(crate) struct ApiServer {
    world: Weak<World>,
    node: usize,
    provider: RefCell<Rc<Provider>>,
    tasks: RefCell<Vec<JoinHandle<()>>>,
    born: u64,
    since: Instant,
    reloads: Cell<u64>,
}

/// The result of one load of the encryption configuration.
struct Provider {
    /// One check at a time, with the last result.
    last: tokio::sync::Mutex<Option<(Instant, bool)>>,
    state: RefCell<Option<State>>,
    cache: RefCell<HashMap<usize, Instant>>,
    connection: Connection,
    seed: u64,
}

/// The seed that writes.
#[derive(Clone)]
struct State {
    dek: usize,
    key_id: String,
    expires: Instant,
}

impl Provider {
    fn new(seed: u64) -> Rc<Self> {
        Rc::new(Self {
            last: tokio::sync::Mutex::default(),
            state: RefCell::default(),
            cache: RefCell::default(),
            connection: Connection::default(),
            seed,
        })
    }

    /// A health check, from memory if there was one recently.
    async fn check(&self, world: &World, node: usize) -> bool {
        let mut last = self.last.lock().await;
        if let Some((when, good)) = *last {
            let valid = if good { HEALTH_OK } else { HEALTH_FAILED };
            if when.elapsed() < valid {
                return good;
            }
        }
        let good = self.status(world, node).await;
        *last = Some((Instant::now(), good));
        good
    }

    /// Calls Status, and makes a new seed if the `key_id` has changed.
    async fn status(&self, world: &World, node: usize) -> bool {
        let until = Instant::now() + SEED;
        let Ok(status) = self.connection.status(world, node).await else {
            return false;
        };
        if status.key_id.is_empty() {
            return false;
        }
        // A bad text in `healthz`, or another version, fails the check but stops no writes.
        let good = status.healthz == "ok" && status.version == "v2";
        if let Some(state) = self
            .state
            .borrow_mut()
            .as_mut()
            .filter(|state| state.key_id == status.key_id)
        {
            state.expires = until;
            return good;
        }
        let draw = |part| hash(&[self.seed, part, world.etcd.borrow().deks.len() as u64]).to_le_bytes();
        let mut seed = [0; 32];
        for (place, part) in seed.chunks_exact_mut(8).zip(0..) {
            place.copy_from_slice(&draw(part));
        }
        let Ok(sealed) = self.connection.encrypt(world, node, &seed, Some(&status.key_id)).await else {
            return false;
        };
        if sealed.key_id != status.key_id {
            // The node switched between the two calls; the judge has verified that.
            return false;
        }
        let id: KeyId = sealed.key_id.parse().unwrap();
        let key_id = sealed.key_id.clone();
        world.tell(|| format!("api {node} writes under {} from now on", world.name_of(&id)));
        let data_key = sealed.data_key();
        let dek = {
            let deks = &mut world.etcd.borrow_mut().deks;
            deks.push(Dek { sealed, seed, id });
            deks.len() - 1
        };
        world.nodes[node].record.borrow_mut().sealed_here(data_key);
        self.cache.borrow_mut().insert(dek, Instant::now());
        *self.state.borrow_mut() = Some(State {
            dek,
            key_id,
            expires: until,
        });
        good
    }

    /// The seed of a stored value; without single flight.
    async fn read(&self, world: &World, node: usize, dek: usize) -> Result<(), Failure> {
        // Nothing is read before the first good Status and Encrypt.
        if self.state.borrow().is_none() {
            return Err(Failure::new(Code::FailedPrecondition, "the API server has no seed yet"));
        }
        if self
            .cache
            .borrow()
            .get(&dek)
            .is_some_and(|since| since.elapsed() < CACHE)
        {
            return Ok(());
        }
        self.connection.decrypt(world, node, dek).await?;
        self.cache.borrow_mut().insert(dek, Instant::now());
        Ok(())
    }
}

impl ApiServer {
    pub(crate) fn start(world: &Rc<World>, node: usize) -> Rc<Self> {
        let now = u64::try_from(world.start.elapsed().as_millis()).unwrap_or_default();
        let born = hash(&[world.setup.seed, 21, node as u64, now]);
        let server = Rc::new(Self {
            world: Rc::downgrade(world),
            node,
            provider: RefCell::new(Provider::new(born)),
            tasks: RefCell::default(),
            born,
            since: Instant::now(),
            reloads: Cell::new(0),
        });
        let tasks = vec![
            spawn_local(poll(Rc::downgrade(&server))),
            spawn_local(ready(Rc::downgrade(&server))),
            spawn_local(live(Rc::downgrade(&server))),
        ];
        *server.tasks.borrow_mut() = tasks;
        server
    }

    /// It is killed.
    pub(crate) fn stop(&self) {
        for task in self.tasks.borrow_mut().drain(..) {
            task.abort();
        }
    }

    /// Starts work for a client, which ends with the API server.
    pub(crate) fn keep(&self, task: JoinHandle<()>) {
        self.tasks.borrow_mut().push(task);
    }

    fn world(&self) -> Rc<World> {
        self.world.upgrade().unwrap()
    }

    fn provider(&self) -> Rc<Provider> {
        self.provider.borrow().clone()
    }

    /// A new load of the configuration replaces the old one when it is healthy.
    pub(crate) async fn reload(&self) {
        self.reloads.set(self.reloads.get() + 1);
        let next = Provider::new(hash(&[self.born, self.reloads.get()]));
        let world = self.world();
        let good = next.check(&world, self.node).await;
        world.tell(|| format!("api {} reloads: {}", self.node, if good { "done" } else { "refused" }));
        if good {
            *self.provider.borrow_mut() = next;
        }
    }

    /// Reads every stored value; fails if one value cannot be read.
    pub(crate) async fn list(&self) -> bool {
        let (world, provider) = (self.world(), self.provider());
        let deks: Vec<usize> = world.etcd.borrow().objects.iter().flatten().copied().collect();
        let reads = deks.into_iter().map(|dek| provider.read(&world, self.node, dek));
        futures_util::future::join_all(reads).await.iter().all(Result::is_ok)
    }

    /// Rewrites stale values.
    pub(crate) async fn migrate(&self) {
        let world = self.world();
        let count = world.etcd.borrow().objects.len();
        for object in 0..count {
            let stored = world.etcd.borrow().objects[object];
            let Some(state) = self.provider().state.borrow().clone() else {
                return;
            };
            let old = stored.filter(|dek| world.etcd.borrow().deks[*dek].sealed.key_id != state.key_id);
            if let Some(dek) = old
                && self.provider().read(&world, self.node, dek).await.is_ok()
            {
                self.write(object);
            }
        }
    }

    /// Stores a value under the seed, if the seed may still write.
    pub(crate) fn write(&self, object: usize) -> bool {
        let world = self.world();
        let state = self.provider().state.borrow().clone();
        let usable = state.filter(|state| Instant::now() < state.expires);
        let young = self.since.elapsed() < STARTING;
        world.judge_write(self.node, usable.is_some(), || {
            young || self.provider().connection.was_broken_lately()
        });
        match usable {
            Some(state) => {
                world.etcd.borrow_mut().objects[object] = Some(state.dek);
                true
            }
            None => false,
        }
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Calls Status periodically.
async fn poll(server: Weak<ApiServer>) {
    while let Some(server) = server.upgrade() {
        let (world, provider) = (server.world(), server.provider());
        let good = provider.check(&world, server.node).await;
        drop((server, world, provider));
        sleep(if good { POLL } else { POLL_FAILING }).await;
    }
}

/// `/readyz`, which load balancers poll.
async fn ready(server: Weak<ApiServer>) {
    while let Some(server) = server.upgrade() {
        let (world, provider) = (server.world(), server.provider());
        provider.check(&world, server.node).await;
        let every = Duration::from_secs(world.setup.ready);
        drop((server, world, provider));
        sleep(every).await;
    }
}

/// Reads every value at the start, then serves its clients.
async fn live(server: Weak<ApiServer>) {
    let Some(mut chance) = server.upgrade().map(|server| Chance::new(server.born, 1)) else {
        return;
    };
    let mut listed = false;
    while let Some(server) = server.upgrade() {
        let world = server.world();
        if !listed {
            listed = server.list().await;
        }
        let object = chance.index(world.setup.objects);
        if chance.percent(40) {
            server.write(object);
        } else {
            let stored = world.etcd.borrow().objects[object];
            if let Some(dek) = stored {
                server.provider().read(&world, server.node, dek).await.ok();
            }
        }
        let pause = chance.within(1, 2 * world.setup.pace);
        drop((server, world));
        sleep(Duration::from_secs(pause)).await;
    }
}
