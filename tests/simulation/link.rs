//! The two connections to a modelled store: the daemon's, and that of `dekhand keys`.

use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use dekhand::crypto::aes_gcm::AesGcm;
use dekhand::crypto::aes_gcm::NONCE;
use dekhand::root_key::Admin;
use dekhand::root_key::RootKey;
use dekhand::root_key::Wrapped;
use dekhand::root_key::error::Error;
use dekhand::root_key::error::Kind;
use dekhand::root_key::id::KeyId;
use dekhand::root_key::mechanism::Mechanism;
use dekhand::root_key::patience::Patience;
use dekhand::root_key::version::Number;
use dekhand::root_key::version::State;
use dekhand::root_key::version::Version;
use dekhand::secret::Key;
use dekhand::secret::random_bytes;
use tokio::time::Instant;
use tokio::time::sleep;

use crate::chance::hash;
use crate::store::Flavour;
use crate::store::Held;
use crate::store::Mood;
use crate::store::SharedStores;
use crate::store::lock;

/// A backend ends its calls after this time (`call_timeout`, and the limit of the file thread).
const BACKENDS_LIMIT: Duration = Duration::from_secs(10);
/// A token counts a key as proven missing only after this time.
const PROOF: Duration = Duration::from_secs(15);

/// A daemon's connection to its store.
#[derive(Debug)]
pub(crate) struct Link {
    stores: SharedStores,
    node: usize,
    start: Instant,
    memory: Mutex<Memory>,
}

/// A process's memory of a store.
#[derive(Debug, Default)]
struct Memory {
    /// The last content of a keyring.
    content: Option<Vec<Held>>,
    /// Why the last read failed.
    stale: Option<Error>,
    /// Keys that were not found in a token, and since when.
    missing: Vec<(KeyId, Instant)>,
}

fn outage() -> Error {
    Error::new(Kind::Outage, "the store can't be reached")
}

impl Link {
    pub(crate) fn new(stores: &SharedStores, node: usize) -> Arc<Self> {
        Arc::new(Self {
            stores: stores.clone(),
            node,
            start: Instant::now(),
            memory: Mutex::default(),
        })
    }

    fn mood(&self) -> Mood {
        lock(&self.stores).moods[self.node]
    }

    fn flavour(&self) -> Flavour {
        lock(&self.stores).flavour
    }

    /// The duration of a call, and the effect of the connection's fault on it.
    async fn reach(&self, call: u64) -> Result<(), Error> {
        let now = u64::try_from(self.start.elapsed().as_millis()).unwrap_or_default();
        let seed = lock(&self.stores).seed;
        let milliseconds = 1 + hash(&[seed, self.node as u64, call, now]) % 20;
        for _ in 0..2 {
            match self.mood() {
                Mood::Away => return Err(outage()),
                Mood::Hangs => {
                    sleep(BACKENDS_LIMIT).await;
                    return Err(outage());
                }
                Mood::Good | Mood::NoWraps | Mood::NoUse | Mood::Lies => {}
            }
            sleep(Duration::from_millis(milliseconds)).await;
        }
        Ok(())
    }

    /// The key of a version, if it may be used.
    async fn key(&self, id: &KeyId, call: u64, fresh: bool) -> Result<Arc<Key>, Error> {
        let held = match self.flavour() {
            Flavour::Keyring => {
                let memory = self.memory.lock().unwrap();
                let content = memory.content.as_ref().ok_or_else(outage)?;
                if let (true, Some(stale)) = (fresh, &memory.stale) {
                    return Err(stale.clone());
                }
                content.iter().find(|held| held.version.id == *id).cloned()
            }
            Flavour::Token => {
                self.reach(call).await?;
                let held = lock(&self.stores).replica(self.node).find(id).cloned();
                if held.is_none() {
                    return Err(self.missing(id));
                }
                held
            }
        };
        let held = held.ok_or_else(|| Error::missing(id))?;
        if !held.version.state.decrypts() {
            return Err(Error::retired(&held.version));
        }
        self.memory.lock().unwrap().missing.retain(|(known, _)| known != id);
        Ok(held.key)
    }

    /// Tokens that lost a login find no keys either, so a key counts as missing only after a while.
    fn missing(&self, id: &KeyId) -> Error {
        let mut memory = self.memory.lock().unwrap();
        let since = memory
            .missing
            .iter()
            .find(|(known, _)| known == id)
            .map(|(_, since)| *since);
        match since {
            Some(since) if since.elapsed() >= PROOF => Error::missing(id),
            Some(_) => Error::new(Kind::Outage, "the key was not found yet"),
            None => {
                memory.missing.push((id.clone(), Instant::now()));
                Error::new(Kind::Outage, "the key was not found yet")
            }
        }
    }
}

#[async_trait]
impl RootKey for Link {
    async fn discover(&self) -> Result<Vec<Version>, Error> {
        if let Err(error) = self.reach(1).await {
            self.memory.lock().unwrap().stale = Some(error.clone());
            return Err(error);
        }
        let replica = lock(&self.stores).replica(self.node).clone();
        let versions = replica.versions();
        let mut memory = self.memory.lock().unwrap();
        memory.content = Some(replica.held);
        memory.stale = None;
        Ok(versions)
    }

    async fn wrap(&self, id: &KeyId, data_key: &Key, patience: &Patience) -> Result<Wrapped, Error> {
        patience.begin();
        let key = self.key(id, 2, true).await?;
        if matches!(self.mood(), Mood::NoWraps | Mood::NoUse) {
            return Err(Error::new(Kind::Refusal, "wraps are not permitted"));
        }
        let iv = random_bytes::<NONCE>().unwrap();
        let mechanism = Mechanism::AesGcm;
        let sealed = AesGcm::new(&key)
            .seal(&iv, &mechanism.wrap_associated_data(id), data_key.expose())
            .unwrap();
        let bytes = [iv.as_slice(), &sealed].concat();
        Ok(Wrapped { mechanism, bytes })
    }

    async fn unwrap(&self, id: &KeyId, wrapped: &Wrapped, patience: &Patience) -> Result<Key, Error> {
        patience.begin();
        let key = self.key(id, 3, false).await?;
        match self.mood() {
            Mood::NoUse => return Err(Error::new(Kind::Refusal, "unwraps are not permitted")),
            Mood::Lies => return Ok(Key::random().unwrap()),
            Mood::Good | Mood::Away | Mood::Hangs | Mood::NoWraps => {}
        }
        let bad = || Error::bad_wrap(id);
        let (iv, sealed) = wrapped.bytes.split_first_chunk::<NONCE>().ok_or_else(bad)?;
        let opened = AesGcm::new(&key).open(iv, &wrapped.mechanism.wrap_associated_data(id), sealed);
        Key::copied_from(&opened.map_err(|_| bad())?).ok_or_else(bad)
    }
}

/// The connection of a command that runs on a node.
#[derive(Debug)]
pub(crate) struct Session {
    stores: SharedStores,
    node: usize,
    /// Whether a date set by this command is an operator's wish to rotate.
    asked: bool,
    begun: Instant,
}

impl Session {
    pub(crate) fn new(stores: &SharedStores, node: usize, asked: bool) -> Self {
        Self {
            stores: stores.clone(),
            node,
            asked,
            begun: Instant::now(),
        }
    }

    /// Commands take long enough to overlap.
    async fn reach(&self, call: u64) -> Result<(), Error> {
        let (seed, mood) = {
            let stores = lock(&self.stores);
            (stores.seed, stores.moods[self.node])
        };
        let now = u64::try_from(self.begun.elapsed().as_millis()).unwrap_or_default();
        sleep(Duration::from_millis(
            50 + hash(&[seed, 7, self.node as u64, call, now]) % 2000,
        ))
        .await;
        if mood.is_outage() { Err(outage()) } else { Ok(()) }
    }
}

#[async_trait]
impl Admin for Session {
    async fn versions(&self) -> Result<Vec<Version>, Error> {
        self.reach(1).await?;
        Ok(lock(&self.stores).replica(self.node).versions())
    }

    async fn generate(&self, number: Number, state: State) -> Result<Version, Error> {
        self.import(number, state, Key::random().unwrap()).await
    }

    async fn import(&self, number: Number, state: State, key: Key) -> Result<Version, Error> {
        self.reach(2).await?;
        Ok(lock(&self.stores).add(self.node, number, state, key))
    }

    async fn relabel(&self, id: &KeyId, state: State) -> Result<(), Error> {
        self.reach(3).await?;
        if lock(&self.stores).relabel(self.node, id, state, self.asked) {
            Ok(())
        } else {
            Err(Error::missing(id))
        }
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), Error> {
        self.reach(4).await?;
        if lock(&self.stores).destroy(self.node, id) {
            Ok(())
        } else {
            Err(Error::missing(id))
        }
    }
}
