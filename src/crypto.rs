//! The approved algorithms that seal payloads and wrap data keys, from RustCrypto's primitives.

pub mod aes_gcm;
pub mod cbc_hs512;
pub mod commitment;
pub mod derive;
pub mod suite;

/// Some bytes are not what the key's holder sealed. Which byte is wrong is never said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not authentic")]
pub struct NotAuthentic;

/// Something can't be sealed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SealError {
    /// The operating system has no randomness for a nonce.
    #[error("no nonce")]
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
