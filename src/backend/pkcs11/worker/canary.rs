//! Known-good wrapped keys: they distinguish a bad ciphertext from a bad device.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;
use std::time::Instant;

use sha2::Digest as _;
use sha2::Sha256;

use crate::backend::pkcs11::worker::mutex::lock;
use crate::backend::pkcs11::worker::sessions::Access;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::token::error::TokenError;
use crate::token::problem::CallError;
use crate::token::wrap;

/// The interval of canaries in a storm of bad ciphertexts.
pub(super) const CANARY_GAP: Duration = Duration::from_secs(1);
/// The time for which a failed attempt to make a canary counts.
const UNPROVABLE_FOR: Duration = Duration::from_secs(60);

/// One canary for each version and mechanism, because a token may stop permitting one mechanism only.
#[derive(Debug, Default)]
pub(super) struct Canaries(Mutex<HashMap<(KeyId, Mechanism), Known>>);

#[derive(Clone, Debug)]
enum Known {
    Canary(Canary),
    /// No canary could be made at that time.
    Unprovable(Instant),
}

impl Known {
    fn is_unprovable(&self) -> bool {
        matches!(self, Self::Unprovable(since) if since.elapsed() < UNPROVABLE_FOR)
    }
}

/// A wrapped key that has been unwrapped before.
#[derive(Clone, Debug)]
pub(super) struct Canary {
    wrapped: Wrapped,
    /// The digest of the key inside, so that the key itself is not kept.
    digest: [u8; 32],
}

/// The result of a canary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CanaryVerdict {
    /// The token unwraps by this mechanism under this version: a wrapped key that does not open is bad.
    Opened,
    /// The token unwraps under another version. This version may lack the permission.
    Elsewhere,
    /// The token answers, but no canary proves that it unwraps by this mechanism.
    Unprovable,
}

/// Makes a canary; `None` if the token does not wrap by this mechanism.
pub(super) type Make<'a> = &'a dyn Fn() -> Result<Option<Canary>, CallError>;

impl Canary {
    pub(super) fn new(wrapped: Wrapped, data_key: &Key) -> Self {
        let digest = digest(data_key);
        Self { wrapped, digest }
    }

    fn compare(&self, id: &KeyId, opened: &Key) -> Result<(), CallError> {
        if digest(opened) == self.digest {
            return Ok(());
        }
        Err(TokenError::Misbehaved(format!("unwraps a data key under {id} to another key than before")).into())
    }
}

impl Canaries {
    /// Keeps a wrapped key that has just opened as a canary, if there is none of its kind yet. Without integrity
    /// protection any bytes open, so a writer to etcd could have chosen it.
    pub(super) fn keep(&self, id: &KeyId, wrapped: &Wrapped, data_key: &Key) {
        if wrapped.mechanism.is_committed() {
            return;
        }
        let place = (id.clone(), wrapped.mechanism);
        let mut all = self.lock();
        if !matches!(all.get(&place), Some(Known::Canary(_))) {
            all.insert(place, Known::Canary(Canary::new(wrapped.clone(), data_key)));
        }
    }

    /// Unwraps a canary of a version and mechanism, which is made now if there is none. If the key can only unwrap,
    /// none can be made; then the canary of another version shows at least that the token works.
    pub(super) fn prove(
        &self,
        access: Access<'_>,
        (id, mechanism): (&KeyId, Mechanism),
        make: Make<'_>,
        heartbeat: &dyn Fn() -> bool,
    ) -> Result<CanaryVerdict, CallError> {
        let known = self.lock().get(&(id.clone(), mechanism)).cloned();
        let canary = match known {
            Some(Known::Canary(canary)) => Some(canary),
            Some(unprovable) if unprovable.is_unprovable() => return Ok(CanaryVerdict::Unprovable),
            Some(Known::Unprovable(_)) | None => make()?,
        };
        let opens = |id: &KeyId, canary: &Canary| {
            let key = access.open.finder().key(access.session, id, heartbeat)?;
            wrap::unwrap(access.open.module(), access.session, &key, id, &canary.wrapped)
        };
        if let Some(canary) = canary {
            canary.compare(id, &opens(id, &canary)?)?;
            self.lock().insert((id.clone(), mechanism), Known::Canary(canary));
            return Ok(CanaryVerdict::Opened);
        }
        for (other, canary) in self.of_other_versions(mechanism) {
            match opens(&other, &canary) {
                Ok(opened) => return canary.compare(&other, &opened).map(|()| CanaryVerdict::Elsewhere),
                // That version was destroyed.
                Err(TokenError::NotFound(_)) => drop(self.lock().remove(&(other, mechanism))),
                Err(error) => return Err(error.into()),
            }
        }
        self.set_unprovable(id, mechanism);
        Ok(CanaryVerdict::Unprovable)
    }

    /// Notes that no canary proves this mechanism.
    pub(super) fn set_unprovable(&self, id: &KeyId, mechanism: Mechanism) {
        let unprovable = Known::Unprovable(Instant::now());
        self.lock().insert((id.clone(), mechanism), unprovable);
    }

    /// Whether that was noted a short while ago.
    pub(super) fn is_unprovable(&self, id: &KeyId, mechanism: Mechanism) -> bool {
        let all = self.lock();
        all.get(&(id.clone(), mechanism)).is_some_and(Known::is_unprovable)
    }

    fn of_other_versions(&self, mechanism: Mechanism) -> Vec<(KeyId, Canary)> {
        let all = self.lock();
        let of_mechanism = all.iter().filter(|((_, of), _)| *of == mechanism);
        let canaries = of_mechanism.filter_map(|((id, _), known)| match known {
            Known::Canary(canary) => Some((id.clone(), canary.clone())),
            Known::Unprovable(_) => None,
        });
        canaries.collect()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<(KeyId, Mechanism), Known>> {
        lock(&self.0)
    }
}

fn digest(key: &Key) -> [u8; 32] {
    Sha256::digest(key.expose()).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_anybody_could_have_written_is_no_canary() {
        let (canaries, id, key) = (Canaries::default(), KeyId::random().unwrap(), Key::random().unwrap());
        for mechanism in Mechanism::ALL {
            let bytes = vec![0; 48];
            canaries.keep(&id, &Wrapped { mechanism, bytes }, &key);
            let kept = !canaries.lock().drain().collect::<Vec<_>>().is_empty();
            assert_eq!(kept, !mechanism.is_committed(), "{mechanism}");
        }
    }
}
