//! The seam between the envelope and the places where root keys live: versions, wrap, unwrap and their errors.

pub mod error;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
pub(crate) mod fake_admin;
pub mod high_water;
pub mod id;
pub mod mechanism;
pub mod name;
pub mod patience;
pub mod rotation;
pub mod version;

use std::fmt::Debug;

use async_trait::async_trait;

use crate::root_key::error::Error;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::patience::Patience;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::secret::Key;

/// A data key under a root key, as the backend returns it: the table of design's sealed format without commitment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapped {
    /// How it was wrapped.
    pub mechanism: Mechanism,
    /// IV, ciphertext and tag, as far as the mechanism has them, in this order.
    pub bytes: Vec<u8>,
}

/// One root key with all its versions, wherever it lives: what the daemon may do with it, and no more.
///
/// Every call ends: a backend puts a limit on what it waits for, and answers [`error::Kind::Outage`] beyond it.
///
/// # Cancel safety
/// A dropped call goes on in the backend or was not begun; either does no harm.
#[async_trait]
pub trait RootKey: Send + Sync + Debug {
    /// Every version that the store holds now, in order.
    ///
    /// # Errors
    /// The store can't be read ([`error::Kind::Outage`]) or holds what can't be ([`error::Kind::Corruption`]).
    async fn discover(&self) -> Result<Vec<Version>, Error>;

    /// Wraps a data key under one version. A backend that lets calls wait says with [`Patience::begin`] when it has begun.
    ///
    /// # Errors
    /// See [`error::Kind`]; never [`error::Kind::BadInput`]. [`error::Kind::Busy`] at once when it can't begin while
    /// somebody waits.
    async fn wrap(&self, id: &KeyId, data_key: &Key, patience: &Patience) -> Result<Wrapped, Error>;

    /// Unwraps a data key; as to waiting, like [`RootKey::wrap`].
    ///
    /// # Errors
    /// As [`RootKey::wrap`]; [`error::Kind::BadInput`] only when the wrapped key is *proven* bad: the backend has seen the
    /// root key work.
    async fn unwrap(&self, id: &KeyId, wrapped: &Wrapped, patience: &Patience) -> Result<Key, Error>;
}

/// What only `dekhand keys` does: make, date and destroy versions.
#[async_trait]
pub trait Admin: Send + Sync + Debug {
    /// Every version that the store holds now, in order.
    ///
    /// # Errors
    /// The store can't be read.
    async fn versions(&self) -> Result<Vec<Version>, Error>;

    /// Makes a version of a new random key, with a random id.
    ///
    /// # Errors
    /// The store refuses.
    async fn generate(&self, number: Number, state: State) -> Result<Version, Error>;

    /// Makes a version of a key that another system made.
    ///
    /// # Errors
    /// The store refuses.
    async fn import(&self, number: Number, state: State, key: Key) -> Result<Version, Error>;

    /// Changes the state of a version.
    ///
    /// # Errors
    /// The store refuses, or has no such version.
    async fn relabel(&self, id: &KeyId, state: State) -> Result<(), Error>;

    /// Destroys a version's key for ever.
    ///
    /// # Errors
    /// The store refuses, or has no such version.
    async fn destroy(&self, id: &KeyId) -> Result<(), Error>;
}
