//! The keys that a finder has found before: what was shown of them, and what may have changed since.

use cryptoki::session::Session;

use super::Finder;
use crate::root_key::id::KeyId;
use crate::token::error::TokenError;
use crate::token::key_object::KeyObject;
use crate::token::objects::candidate::Class;
use crate::token::objects::key_pair;
use crate::token::objects::memory::KnownKey;
use crate::token::objects::search::FoundKey;

impl Finder {
    /// Known objects; the public half of a pair is searched again if that is due.
    pub(super) fn with_its_half(
        &self,
        session: &Session,
        id: &KeyId,
        known: KnownKey,
        heartbeat: &dyn Fn() -> bool,
    ) -> Result<KeyObject, TokenError> {
        if !known.half_due {
            return Ok(known.key);
        }
        let place = FoundKey {
            class: Class::Private,
            handle: known.key.unwraps,
        };
        let key = key_pair::of(session, id, place, heartbeat)?;
        if let Some(known) = self.memory().keys.get_mut(id).filter(|now| now.key == known.key) {
            known.key = key;
            known.half_due = false;
        }
        Ok(key)
    }

    /// Whether the proof record has confirmed these objects as the version's.
    pub(crate) fn is_proven(&self, id: &KeyId, key: &KeyObject) -> bool {
        let memory = self.memory();
        let known = memory.keys.get(id);
        known.is_some_and(|known| known.proven && known.key == *key)
    }

    /// Whether a version's key can be exchanged without the PIN: another public key may have its handle by now.
    pub(crate) fn is_public(&self, id: &KeyId) -> bool {
        self.memory().keys.get(id).is_some_and(|known| !known.private)
    }

    /// Marks the objects as confirmed by the proof record.
    pub(crate) fn note_proven(&self, id: &KeyId, key: &KeyObject) {
        if let Some(known) = self.memory().keys.get_mut(id).filter(|known| known.key == *key) {
            known.proven = true;
        }
    }

    /// Forgets the objects of one version, because its handle was refused. The cache of other objects stays.
    pub(crate) fn forget_key(&self, id: &KeyId) {
        self.memory().keys.remove(id);
    }
}
