//! The interface between the envelope and the backends of root keys: versions, wrap, unwrap and their errors.

pub mod error;
#[cfg(test)]
pub(crate) mod fake;
#[cfg(test)]
pub(crate) mod fake_admin;
pub mod high_water;
pub mod id;
pub mod mechanism;
pub mod name;
pub mod primary;
pub mod rotation;
pub mod sealed_format;
pub mod version;
pub mod waiters;

use std::fmt::Debug;

use async_trait::async_trait;
use serde::Deserialize;
use serde::Serialize;

use crate::root_key::error::Error;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::root_key::waiters::Waiters;
use crate::secret::Key;

/// A wrapped data key as the backend returns it, without the commitment of the sealed format.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Wrapped {
    /// The wrap mechanism.
    pub mechanism: Mechanism,
    /// IV, ciphertext and tag in this order; not every mechanism has an IV and a tag.
    pub bytes: Vec<u8>,
}

/// One root key with all its versions, in any backend. Has only the operations that the daemon may use.
///
/// Every call ends: a backend limits its waits, and returns [`error::Kind::Outage`] when a limit is reached.
///
/// # Cancel safety
/// A dropped call either continues in the backend or never began; neither does harm.
#[async_trait]
pub trait RootKey: Send + Sync + Debug {
    /// Every version that the store holds now, in order.
    ///
    /// # Errors
    /// The store cannot be read ([`error::Kind::Outage`]) or its content is invalid ([`error::Kind::Corruption`]).
    async fn discover(&self) -> Result<Vec<Version>, Error>;

    /// Wraps a data key under one version. A backend that queues calls reports with [`Waiters::begin`] that a call has
    /// begun.
    ///
    /// # Errors
    /// See [`error::Kind`]; never [`error::Kind::BadInput`]. [`error::Kind::Busy`] at once if the call cannot begin
    /// before its last caller gives up.
    async fn wrap(&self, id: &KeyId, data_key: &Key, waiters: &Waiters) -> Result<Wrapped, Error>;

    /// Unwraps a data key. Queued like [`RootKey::wrap`].
    ///
    /// # Errors
    /// As [`RootKey::wrap`]; [`error::Kind::BadInput`] only if the wrapped key is *proven* bad: the backend has checked
    /// that the root key works.
    async fn unwrap(&self, id: &KeyId, wrapped: &Wrapped, waiters: &Waiters) -> Result<Key, Error>;
}

/// The operations of `dekhand keys` alone: make, date and destroy versions.
#[async_trait]
pub trait Admin: Send + Sync + Debug {
    /// Every version that the store holds now, in order.
    ///
    /// # Errors
    /// The store cannot be read.
    async fn versions(&self) -> Result<Vec<Version>, Error>;

    /// Makes a version of a new random key, with a random id.
    ///
    /// # Errors
    /// The store refuses.
    async fn generate(&self, number: Number, state: State) -> Result<Version, Error>;

    /// Makes a version of a key from another system.
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
