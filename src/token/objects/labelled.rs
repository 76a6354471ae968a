//! The objects whose labels belong to the root key, or were meant to.

use std::collections::HashSet;

use cryptoki::session::Session;

use super::Finder;
use crate::token::error::TokenError;
use crate::token::objects::candidate::Candidate;
use crate::token::objects::classify;
use crate::token::objects::classify::Ownership;
use crate::token::objects::memory::Known;
use crate::token::objects::search;
use crate::token::objects::search::FoundKey;
use crate::token::return_value::ReturnValue;

impl Finder {
    /// The objects whose labels belong to the root key, or were meant to. They are all read together at the end, so
    /// that the list is of one moment, however long the search took.
    pub(super) fn labelled(
        &self,
        session: &Session,
        places: Vec<FoundKey>,
        heartbeat: &dyn Fn() -> bool,
    ) -> Result<Vec<(FoundKey, Candidate)>, TokenError> {
        let mut candidates = Vec::new();
        let mut gone = Vec::new();
        for place in places {
            match self.look(session, place) {
                Ok(Seen::Before) => continue,
                Ok(Seen::Foreign) => {}
                Ok(Seen::Ours(candidate)) => candidates.push((place, candidate)),
                Err(error) if error.value() == Some(ReturnValue::OBJECT_HANDLE_INVALID) => gone.push((place, error)),
                Err(error) => return Err(error),
            }
            heartbeat();
        }
        if gone.is_empty() {
            return Ok(candidates);
        }
        // Destroyed by another process meanwhile; or the token reports this when the login is lost.
        let left = search::keys(session, &[], heartbeat)?;
        let left: HashSet<u64> = left.iter().map(|place| place.handle.handle()).collect();
        for (place, error) in gone {
            if left.contains(&place.handle.handle()) {
                return Err(error);
            }
        }
        Ok(candidates)
    }

    fn look(&self, session: &Session, place: FoundKey) -> Result<Seen, TokenError> {
        let handle = place.handle.handle();
        let makeup = match self.memory().known.get(&handle) {
            Some(Known::Foreign(_) | Known::Public(_)) => return Ok(Seen::Before),
            Some(Known::Ours(makeup)) => Some(*makeup),
            None => None,
        };
        let label = search::label(session, place, search::LONGEST_OF_OURS)?;
        if classify::kinship(&self.root_key, label.as_deref()) == Ownership::Foreign {
            self.memory().note_foreign(handle);
            return Ok(Seen::Foreign);
        }
        let candidate = search::candidate(session, place, label, makeup)?;
        self.memory().known.insert(handle, Known::Ours(candidate.makeup));
        Ok(Seen::Ours(candidate))
    }
}

/// The result of a look at an object.
enum Seen {
    /// Another application's object, as known before.
    Before,
    Foreign,
    Ours(Candidate),
}
