//! Decides which objects are versions of the root key, and warns about the others.

use std::borrow::Borrow;
use std::collections::HashMap;

use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::token::label;
use crate::token::objects::candidate::Candidate;
use crate::token::objects::candidate::quoted;
use crate::token::options::ListedVersion;
use crate::token::options::ObjectName;

/// The most warnings of one discovery; a token can hold any number of odd objects.
const MOST_WARNINGS: usize = 20;

/// The result of judging.
#[derive(Debug, Default)]
pub(super) struct Judgement {
    /// The versions in order, each with the place of its candidate.
    pub(super) versions: Vec<(Version, usize)>,
    /// The objects that were left out, with reasons.
    pub(super) warnings: Vec<String>,
    /// Whether a private key is among them.
    pub(super) leaves_out_private_key: bool,
}

/// The meaning of an object's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// A version of this root key.
    Ours,
    /// A label with a mistake, probably meant for this root key.
    Misspelt,
    /// Another application's.
    Foreign,
}

/// The meaning of an object's label.
pub(super) fn kinship(root_key: &RootKeyName, label: Option<&[u8]>) -> Ownership {
    let label = label.map(String::from_utf8_lossy).unwrap_or_default();
    if label::parse(root_key, &label).is_some() {
        Ownership::Ours
    } else if label::resembles(root_key, &label) {
        Ownership::Misspelt
    } else {
        Ownership::Foreign
    }
}

/// Judges by labels: every candidate has a label of this root key, possibly with a mistake.
pub(super) fn by_label<C: Borrow<Candidate>>(root_key: &RootKeyName, candidates: &[C]) -> Judgement {
    let mut judgement = Judgement::default();
    for (place, candidate) in candidates.iter().map(Borrow::borrow).enumerate() {
        let left_out_before = judgement.warnings.len();
        match candidate.label().and_then(|label| label::parse(root_key, label)) {
            Some((number, state)) => match candidate.usable() {
                Ok(id) => judgement.versions.push((Version { number, state, id }, place)),
                Err(flaw) => judgement.leave_out(&candidate.shown(), &flaw),
            },
            None => judgement.leave_out(
                &candidate.shown(),
                &format!(
                    "a version's label is {root_key}.vN, {root_key}.vN@yyyymmddThhmmZ or {root_key}.vN~yyyymmddThhmmZ"
                ),
            ),
        }
        judgement.leaves_out_private_key |= candidate.private && judgement.warnings.len() > left_out_before;
    }
    judgement.finished(candidates)
}

/// Judges by the configuration's list: each candidate belongs to the entry at its place.
pub(super) fn by_list<C: Borrow<Candidate>>(
    listed: &[ListedVersion],
    candidates: &[C],
    entries: &[usize],
) -> Judgement {
    let mut judgement = Judgement::default();
    for (entry, version) in listed.iter().enumerate() {
        let ListedVersion {
            object,
            number,
            activates,
            retired,
        } = version;
        let name = match object {
            ObjectName::Id(id) => format!("{number} (id {id})"),
            ObjectName::Label(label) => format!("{number} (label {})", quoted(label.as_bytes())),
        };
        let state = match (*retired, *activates) {
            (Some(moment), _) => State::RetiredSince(moment),
            (None, Some(moment)) => State::ActiveFrom(moment),
            (None, None) => State::Pending,
        };
        let mut places = entries.iter().enumerate().filter(|(_, of)| **of == entry);
        match (places.next(), places.next()) {
            (None, _) => judgement.leave_out(&name, "the token holds no such key"),
            (Some(_), Some(_)) => judgement.leave_out(&name, "the token holds more than one such key"),
            (Some((place, _)), None) => match candidates.get(place).map(|candidate| candidate.borrow().usable()) {
                Some(Ok(id)) => {
                    let version = Version {
                        number: *number,
                        state,
                        id,
                    };
                    judgement.versions.push((version, place));
                }
                Some(Err(flaw)) => judgement.leave_out(&name, &flaw),
                None => judgement.leave_out(&name, "the token holds no such key"),
            },
        }
    }
    judgement.finished(candidates)
}

impl Judgement {
    fn leave_out(&mut self, what: &str, why: &str) {
        self.warnings.push(format!("{what} is left out: {why}"));
    }

    /// An id identifies one key for ever. If two objects share an id, neither is used, because the right one is
    /// unknown.
    fn finished<C: Borrow<Candidate>>(mut self, candidates: &[C]) -> Self {
        let mut shared: HashMap<KeyId, Vec<usize>> = HashMap::new();
        for (version, place) in &self.versions {
            shared.entry(version.id.clone()).or_default().push(*place);
        }
        shared.retain(|_, places| places.len() > 1);
        self.versions.retain(|(version, _)| !shared.contains_key(&version.id));
        let mut shared: Vec<_> = shared.into_iter().collect();
        shared.sort_unstable();
        for (id, places) in shared {
            let of_places = || {
                places
                    .iter()
                    .filter_map(|place| candidates.get(*place))
                    .map(Borrow::borrow)
            };
            self.leaves_out_private_key |= of_places().any(|candidate| candidate.private);
            let mut labels: Vec<String> = of_places().map(Candidate::shown).collect();
            labels.sort_unstable();
            let labels = labels.join(" and ");
            self.warnings.push(format!(
                "{labels} are left out: they share the CKA_ID {id}, which must be unique"
            ));
        }
        self.versions
            .sort_unstable_by(|(one, _), (other, _)| one.rank().cmp(&other.rank()));
        let more = self.warnings.len().saturating_sub(MOST_WARNINGS);
        if more > 0 {
            self.warnings.truncate(MOST_WARNINGS);
            self.warnings.push(format!("{more} more objects are left out"));
        }
        self
    }
}

#[cfg(test)]
mod tests;
