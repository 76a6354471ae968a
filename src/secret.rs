//! Secret bytes that are filled in place, wiped when dropped, and never printed, cloned or compared by accident.

use std::fmt;

use subtle::ConstantTimeEq;
use zeroize::Zeroizing;

/// `N` secret bytes on the heap. They never move, so no copy remains after they are wiped.
pub struct Secret<const N: usize>(Box<Zeroizing<[u8; N]>>);

/// A 256-bit key.
pub type Key = Secret<32>;

impl<const N: usize> Secret<N> {
    /// A random secret from the operating system.
    ///
    /// # Errors
    /// The operating system provides no randomness.
    pub fn random() -> Result<Self, NoRandomness> {
        let mut secret = Self::zeros();
        getrandom::fill(secret.0.as_mut_slice())?;
        Ok(secret)
    }

    /// A secret that `fill` writes into a zeroed buffer.
    ///
    /// # Errors
    /// The errors of `fill`.
    pub fn try_filled<E>(fill: impl FnOnce(&mut [u8; N]) -> Result<(), E>) -> Result<Self, E> {
        let mut secret = Self::zeros();
        fill(&mut secret.0)?;
        Ok(secret)
    }

    /// A copy of `bytes`, which the caller must wipe; `None` if the length is not `N`.
    pub fn copied_from(bytes: &[u8]) -> Option<Self> {
        Self::try_filled(|place| {
            if bytes.len() == N {
                place.copy_from_slice(bytes);
                Ok(())
            } else {
                Err(())
            }
        })
        .ok()
    }

    /// The bytes. A search for this name finds every use of every secret.
    pub fn expose(&self) -> &[u8; N] {
        &self.0
    }

    /// Whether both hold the same bytes, in constant time.
    pub fn same_as(&self, other: &Self) -> bool {
        self.expose().ct_eq(other.expose()).into()
    }

    fn zeros() -> Self {
        Self(Box::new(Zeroizing::new([0; N])))
    }
}

impl<const N: usize> fmt::Debug for Secret<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The operating system provides no randomness.
#[derive(Debug, thiserror::Error)]
#[error("the operating system provides no randomness")]
pub struct NoRandomness(#[from] getrandom::Error);

/// `N` random bytes that are not secret: nonces, IVs, ids.
///
/// # Errors
/// The operating system provides no randomness.
pub fn random_bytes<const N: usize>() -> Result<[u8; N], NoRandomness> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let secret = Secret::<4>::copied_from(b"seed").unwrap();
        assert_eq!(format!("{secret:?}"), "[redacted]");
    }

    #[test]
    fn only_the_exact_length_is_taken() {
        assert!(Key::copied_from(&[1; 32]).is_some());
        assert!(Key::copied_from(&[1; 31]).is_none());
        assert!(Key::copied_from(&[1; 33]).is_none());
    }

    #[test]
    fn two_random_keys_differ() {
        assert!(!Key::random().unwrap().same_as(&Key::random().unwrap()));
    }
}
