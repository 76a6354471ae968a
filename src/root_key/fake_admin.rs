//! A store of versions in memory for tests of commands, with switches for the faults of real ones.

use std::sync::Mutex;
use std::sync::MutexGuard;

use async_trait::async_trait;

use crate::root_key::Admin;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::fake::id;
use crate::root_key::id::KeyId;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::secret::Key;

/// The behaviour of a fake.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Trick {
    /// Works.
    #[default]
    None,
    /// Another command makes a version of the same number with this id at the same time.
    Rival(u8),
    /// A new version is not listed.
    Lags,
    /// Makes versions, but refuses to change or destroy them.
    NoChanges,
}

/// Versions without keys. Those that it makes have the ids 50, 51 and so on.
#[derive(Debug, Default)]
pub(crate) struct FakeAdmin {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    versions: Vec<Version>,
    made: u8,
    trick: Trick,
    imported: bool,
}

pub(crate) fn version(number: u16, id_byte: u8, state: State) -> Version {
    Version {
        number: Number::try_from(number).unwrap(),
        state,
        id: id(id_byte),
    }
}

impl FakeAdmin {
    pub(crate) fn with(versions: impl IntoIterator<Item = Version>) -> Self {
        let fake = Self::default();
        fake.lock().versions.extend(versions);
        fake
    }

    pub(crate) fn play(self, trick: Trick) -> Self {
        self.lock().trick = trick;
        self
    }

    /// The versions that it holds now.
    pub(crate) fn now(&self) -> Vec<Version> {
        self.lock().versions.clone()
    }

    /// Whether a key was imported.
    pub(crate) fn has_imported(&self) -> bool {
        self.lock().imported
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    fn make(&self, number: Number, state: State) -> Version {
        let mut inner = self.lock();
        let version = Version {
            number,
            state,
            id: id(50 + inner.made),
        };
        inner.made += 1;
        match inner.trick {
            Trick::Lags => {}
            Trick::Rival(rival) => {
                let rival = Version {
                    id: id(rival),
                    ..version.clone()
                };
                inner.versions.extend([version.clone(), rival]);
            }
            Trick::None | Trick::NoChanges => inner.versions.push(version.clone()),
        }
        version
    }

    fn change(&self, id: &KeyId, change: impl FnOnce(&mut Vec<Version>, usize)) -> Result<(), Error> {
        let mut inner = self.lock();
        if inner.trick == Trick::NoChanges {
            return Err(Error::new(Kind::Refusal, "the fake does not permit it"));
        }
        let place = inner.versions.iter().position(|version| version.id == *id);
        change(&mut inner.versions, place.ok_or_else(|| Error::missing(id))?);
        Ok(())
    }
}

#[async_trait]
impl Admin for FakeAdmin {
    async fn versions(&self) -> Result<Vec<Version>, Error> {
        Ok(self.now())
    }

    async fn generate(&self, number: Number, state: State) -> Result<Version, Error> {
        Ok(self.make(number, state))
    }

    async fn import(&self, number: Number, state: State, _key: Key) -> Result<Version, Error> {
        self.lock().imported = true;
        Ok(self.make(number, state))
    }

    async fn relabel(&self, id: &KeyId, state: State) -> Result<(), Error> {
        self.change(id, |versions, place| versions[place].state = state)
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), Error> {
        self.change(id, |versions, place| {
            versions.remove(place);
        })
    }
}
