//! The approved algorithms that seal payloads and wrap data keys, from RustCrypto's primitives.

pub mod aes_gcm;
pub mod cbc_hs512;
pub mod commitment;
pub mod derive;
pub mod suite;

/// The bytes were not sealed under this key. The error never reveals which byte is wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not authentic")]
pub struct NotAuthentic;

/// A payload cannot be sealed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SealError {
    /// The operating system provides no randomness for a nonce.
    #[error("cannot make a nonce")]
    Nonce(#[from] std::sync::Arc<crate::secret::NoRandomness>),
    /// Longer than the algorithm allows.
    #[error("too long to seal")]
    TooLong,
}

impl From<crate::secret::NoRandomness> for SealError {
    fn from(error: crate::secret::NoRandomness) -> Self {
        Self::Nonce(std::sync::Arc::new(error))
    }
}
