//! Known-good wrapped keys: whether one opens tells a bad ciphertext from a bad device.

use std::collections::HashMap;
use std::sync::Mutex;

use cryptoki::session::Session;
use sha2::Digest as _;
use sha2::Sha256;

use crate::backend::pkcs11::worker::connection::Connection;
use crate::backend::pkcs11::worker::connection::OpenToken;
use crate::backend::pkcs11::worker::error::TokenError;
use crate::backend::pkcs11::worker::mechanism;
use crate::backend::pkcs11::worker::problem::Problem;
use crate::backend::pkcs11::worker::return_value::Cure;
use crate::backend::pkcs11::worker::serve::Service;
use crate::backend::pkcs11::worker::serve::lock;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::secret::Key;

/// One canary for each version.
#[derive(Debug, Default)]
pub(super) struct Canaries(Mutex<HashMap<KeyId, Canary>>);

#[derive(Clone, Debug)]
struct Canary {
    wrapped: Wrapped,
    /// Of the key inside, so that the key itself is not kept.
    digest: [u8; 32],
}

impl Canaries {
    /// A wrapped key that has just opened: the version's canary, if it has none yet. One of a mechanism without integrity
    /// opens whatever it holds, so anybody who writes to etcd could have chosen it, and the mechanism with it.
    pub(super) fn keep(&self, id: &KeyId, wrapped: &Wrapped, data_key: &Key) {
        if wrapped.mechanism.is_committed() {
            return;
        }
        lock(&self.0).entry(id.clone()).or_insert_with(|| Canary {
            wrapped: wrapped.clone(),
            digest: digest(data_key),
        });
    }

    /// Unwraps the canary of a version, which is made now if there is none. Where none can be made, since the key only
    /// unwraps, that of another version shows at least that the token is well.
    pub(super) fn prove(
        &self,
        service: &Service,
        connection: &Connection,
        token: &OpenToken,
        session: &Session,
        id: &KeyId,
    ) -> Result<(), Problem> {
        let kept = lock(&self.0).get(id).cloned();
        let (id, canary) = match kept {
            Some(canary) => (id.clone(), canary),
            None => match make(service, connection, token, session, id) {
                Ok(canary) => {
                    lock(&self.0).insert(id.clone(), canary.clone());
                    (id.clone(), canary)
                }
                Err(Problem::Token(error)) if error.cure() == Cure::Nothing => {
                    let other = lock(&self.0)
                        .iter()
                        .next()
                        .map(|(id, canary)| (id.clone(), canary.clone()));
                    other.ok_or(error)?
                }
                Err(other) => return Err(other),
            },
        };
        let key = token.finder().key(session, &id)?;
        let opened = mechanism::unwrap(connection.module(), session, &key, &id, &canary.wrapped)?;
        if digest(&opened) == canary.digest {
            Ok(())
        } else {
            Err(TokenError::Lie(format!("opens a data key under {id} as another one than before")).into())
        }
    }
}

fn make(
    service: &Service,
    connection: &Connection,
    token: &OpenToken,
    session: &Session,
    id: &KeyId,
) -> Result<Canary, Problem> {
    let key = Key::random().map_err(|error| Error::new(Kind::Outage, "no canary can be made").because(error))?;
    Ok(Canary {
        wrapped: service.wrap(connection, token, session, id, &key)?,
        digest: digest(&key),
    })
}

fn digest(key: &Key) -> [u8; 32] {
    Sha256::digest(key.expose()).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::root_key::mechanism::Mechanism;

    #[test]
    fn what_anybody_could_have_written_is_no_canary() {
        let (canaries, id, key) = (Canaries::default(), KeyId::random().unwrap(), Key::random().unwrap());
        for mechanism in Mechanism::ALL {
            let bytes = vec![0; 48];
            canaries.keep(&id, &Wrapped { mechanism, bytes }, &key);
            let kept = lock(&canaries.0).remove(&id);
            assert_eq!(kept.is_some(), !mechanism.is_committed(), "{mechanism}");
        }
    }
}
