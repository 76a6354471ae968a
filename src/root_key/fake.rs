//! A root key in memory for tests, with switches for the faults of real ones.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use async_trait::async_trait;
use tokio::sync::Semaphore;

use crate::clock::Timestamp;
use crate::crypto::aes_gcm::AesGcm;
use crate::root_key::RootKey;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::root_key::waiters::Waiters;
use crate::secret::Key;
use crate::secret::random_bytes;

/// The behaviour of a fake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Mood {
    /// Works.
    #[default]
    Good,
    /// Every call fails with an outage.
    Away,
    /// Listings hang.
    Silent,
    /// Lists, but refuses every wrap.
    Refuses,
    /// Unwraps, but every wrap fails with an outage.
    WrapsNothing,
    /// Unwraps to wrong keys.
    Lies,
    /// Queues an unwrap that hangs, instead of beginning it.
    Queues,
}

/// Calls so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls {
    pub(crate) discover: usize,
    pub(crate) wrap: usize,
    pub(crate) unwrap: usize,
}

/// A root key in memory. [`Fake::replica`] makes further stores with the same keys.
#[derive(Debug)]
pub(crate) struct Fake {
    inner: Mutex<Inner>,
    /// Unwraps wait for a permit. There are always permits, unless a test stalls unwraps.
    gate: Semaphore,
}

#[derive(Debug, Default)]
struct Inner {
    versions: Vec<(Version, Arc<Key>)>,
    mood: Mood,
    calls: Calls,
}

pub(crate) fn id(byte: u8) -> KeyId {
    KeyId::try_from([byte; 16].as_slice()).unwrap()
}

pub(crate) fn active_from(second: u64) -> State {
    State::ActiveFrom(Timestamp::from_unix(second))
}

impl Fake {
    /// No versions.
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self {
            inner: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    /// Another store with the same versions and keys.
    pub(crate) fn replica(&self) -> Arc<Self> {
        let versions = self.lock().versions.clone();
        let inner = Mutex::new(Inner {
            versions,
            ..Inner::default()
        });
        Arc::new(Self {
            inner,
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
        })
    }

    /// Adds a version whose id is made of its number, or changes the state of the one there.
    pub(crate) fn set(&self, number: u16, state: State) {
        self.set_with_number(u8::try_from(number).unwrap(), number, state);
    }

    /// Adds the version of this id, or changes the state of the one there.
    pub(crate) fn set_with_number(&self, id_byte: u8, number: u16, state: State) {
        let mut inner = self.lock();
        let id = id(id_byte);
        if let Some((version, _)) = inner.versions.iter_mut().find(|(version, _)| version.id == id) {
            version.state = state;
            return;
        }
        let version = Version {
            number: Number::try_from(number).unwrap(),
            state,
            id,
        };
        inner.versions.push((version, Arc::new(Key::random().unwrap())));
    }

    /// Copies a version with its key from another store, as replication does.
    pub(crate) fn copy_version(&self, from: &Self, number: u16) {
        let versions = from.lock().versions.clone();
        let copied = versions
            .into_iter()
            .filter(|(version, _)| u16::from(version.number) == number);
        self.lock().versions.extend(copied);
    }

    /// Forgets a version, as a restored backup does.
    pub(crate) fn remove(&self, number: u16) {
        self.lock()
            .versions
            .retain(|(version, _)| u16::from(version.number) != number);
    }

    /// Changes the behaviour.
    pub(crate) fn set_mood(&self, mood: Mood) {
        self.lock().mood = mood;
    }

    /// Unwraps hang until [`Fake::let_go`].
    pub(crate) fn stall(&self) {
        self.gate.forget_permits(Semaphore::MAX_PERMITS);
    }

    /// Lets hanging unwraps go on.
    pub(crate) fn let_go(&self) {
        self.gate.add_permits(Semaphore::MAX_PERMITS);
    }

    /// Returns the numbers of calls, and resets them to zero.
    pub(crate) fn take_calls(&self) -> Calls {
        std::mem::take(&mut self.lock().calls)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn key(&self, id: &KeyId) -> Result<Arc<Key>, Error> {
        let inner = self.lock();
        if inner.mood == Mood::Away {
            return Err(Error::new(Kind::Outage, "the fake is away"));
        }
        let found = inner.versions.iter().find(|(version, _)| version.id == *id);
        found.map(|(_, key)| key.clone()).ok_or_else(|| Error::missing(id))
    }
}

#[async_trait]
impl RootKey for Fake {
    async fn discover(&self) -> Result<Vec<Version>, Error> {
        if self.lock().mood == Mood::Silent {
            std::future::pending::<()>().await;
        }
        let mut inner = self.lock();
        inner.calls.discover += 1;
        if inner.mood == Mood::Away {
            return Err(Error::new(Kind::Outage, "the fake is away"));
        }
        Ok(inner.versions.iter().map(|(version, _)| version.clone()).collect())
    }

    async fn wrap(&self, id: &KeyId, data_key: &Key, waiters: &Waiters) -> Result<Wrapped, Error> {
        waiters.begin();
        self.lock().calls.wrap += 1;
        let key = self.key(id)?;
        match self.lock().mood {
            Mood::Refuses => return Err(Error::new(Kind::Refusal, "the fake permits no wrap")),
            Mood::WrapsNothing => return Err(Error::new(Kind::Outage, "no wrap gets through")),
            Mood::Good | Mood::Away | Mood::Silent | Mood::Lies | Mood::Queues => {}
        }
        let iv = random_bytes::<12>().unwrap();
        let mechanism = Mechanism::AesGcm;
        let sealed = AesGcm::new(&key)
            .seal(&iv, &mechanism.wrap_associated_data(id), data_key.expose())
            .unwrap();
        Ok(Wrapped {
            mechanism,
            bytes: [iv.as_slice(), &sealed].concat(),
        })
    }

    async fn unwrap(&self, id: &KeyId, wrapped: &Wrapped, waiters: &Waiters) -> Result<Key, Error> {
        self.lock().calls.unwrap += 1;
        let key = self.key(id)?;
        if self.lock().mood != Mood::Queues {
            waiters.begin();
        }
        // Without a permit it hangs, as a network HSM does.
        drop(self.gate.acquire().await.unwrap());
        waiters.begin();
        let key = self.key(id).map(|_| key)?;
        if self.lock().mood == Mood::Lies {
            return Ok(Key::random().unwrap());
        }
        let (iv, sealed) = wrapped.bytes.split_first_chunk::<12>().unwrap();
        let opened = AesGcm::new(&key).open(iv, &wrapped.mechanism.wrap_associated_data(id), sealed);
        let opened = opened.map_err(|_| Error::bad_wrap(id))?;
        Key::copied_from(&opened).ok_or_else(|| Error::bad_wrap(id))
    }
}
