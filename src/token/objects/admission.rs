//! Decides which objects count: private ones, and the public ones that this node keeps using.
//!
//! PKCS#11 lets every session make and destroy public objects, even a session without login. So with `private: true` an
//! object counts only if its own attribute reports it as private. The template of a search is no proof: some modules
//! ignore `CKA_PRIVATE` in it.

use std::collections::BTreeSet;

use crate::root_key::high_water::HighWater;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;
use crate::token::label;
use crate::token::objects::candidate::Candidate;
use crate::token::options::ListedVersion;
use crate::token::options::ObjectName;

/// The reason why a public object is left out, and the remedy.
pub(super) const PUBLIC: &str = "its key is a public object, which can be made and exchanged without the PIN: if it is \
                                 not yours, or a private key has the same id, destroy it; otherwise make a private \
                                 copy of it, or set `private: false`";

/// Which public objects count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Admission {
    /// All of them, as private ones do (`private: false`).
    All,
    /// Those of these versions, unless a private object has the same id.
    Only(BTreeSet<KeyId>),
    /// Those that this node may have used before, unless a private object has the same id: the records begin with the
    /// versions listed now.
    UpTo(UpTo),
}

/// The versions that this node may have used before its records began: those up to the primary that it has reported;
/// all, if it has reported none and uses the root key only to decrypt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct UpTo {
    pub(crate) root_key: RootKeyName,
    pub(crate) listed: Vec<ListedVersion>,
    pub(crate) primary: Option<HighWater>,
}

/// Candidates, each with data that belongs to it.
type With<T> = Vec<(T, Candidate)>;

impl Default for Admission {
    /// None.
    fn default() -> Self {
        Self::Only(BTreeSet::new())
    }
}

impl Admission {
    /// Whether a search for private objects alone suffices.
    pub(super) fn prefers_private(&self) -> bool {
        *self != Self::All
    }

    /// Whether a public object of this id can count.
    pub(super) fn may_admit(&self, id: &KeyId) -> bool {
        match self {
            Self::All | Self::UpTo(_) => true,
            Self::Only(ids) => ids.contains(id),
        }
    }

    fn admits(&self, candidate: &Candidate) -> bool {
        let may_be = candidate.id().is_some_and(|id| self.may_admit(&id));
        may_be
            && match self {
                Self::All | Self::Only(_) => true,
                Self::UpTo(bound) => bound.admits(candidate),
            }
    }

    /// Separates candidates that count from those that do not. The data of a candidate stays with it.
    pub(super) fn sort<T>(&self, candidates: Vec<(T, Candidate)>) -> (With<T>, With<T>) {
        if *self == Self::All {
            return (candidates, Vec::new());
        }
        let of_private: BTreeSet<KeyId> = candidates
            .iter()
            .filter(|(_, candidate)| candidate.private)
            .filter_map(|(_, candidate)| candidate.id())
            .collect();
        let counts = |candidate: &Candidate| {
            let has_private = |id: KeyId| of_private.contains(&id);
            candidate.private || self.admits(candidate) && !candidate.id().is_some_and(has_private)
        };
        candidates.into_iter().partition(|(_, candidate)| counts(candidate))
    }
}

impl UpTo {
    /// Only a higher number than the primary's, or the same number with another date and id, could make a version the
    /// primary.
    fn admits(&self, candidate: &Candidate) -> bool {
        let numbers = self.numbers(candidate);
        let Some(HighWater { number: primary, id }) = &self.primary else {
            return !numbers.is_empty();
        };
        let is_primary = candidate.id().is_some_and(|of| of == *id);
        let admits = |number: &Number| number < primary || number == primary && is_primary;
        !numbers.is_empty() && numbers.iter().all(admits)
    }

    /// The versions whose key a candidate could be.
    fn numbers(&self, candidate: &Candidate) -> Vec<Number> {
        if self.listed.is_empty() {
            let parsed = candidate.label().and_then(|of| label::parse(&self.root_key, of));
            return parsed.map(|(number, _)| number).into_iter().collect();
        }
        let is_named = |object: &ObjectName| match object {
            ObjectName::Id(id) => candidate.id().is_some_and(|of| of == *id),
            ObjectName::Label(label) => candidate.label() == Some(label.as_str()),
        };
        let named = self.listed.iter().filter(|version| is_named(&version.object));
        named.map(|version| version.number).collect()
    }
}

/// Warnings about the candidates that do not count: one for each of the first few, because other users of the token can
/// make any number.
pub(super) fn left_out(mut candidates: Vec<&Candidate>) -> Vec<String> {
    const MOST: usize = 5;
    // Sorted, so that the same ones are named each time.
    candidates.sort_by(|one, other| (&one.label, &one.id).cmp(&(&other.label, &other.id)));
    let told = candidates.iter().take(MOST);
    let mut told: Vec<String> = told
        .map(|candidate| match candidate.id() {
            Some(id) => format!("{} (id {id}) is left out: {PUBLIC}", candidate.shown()),
            None => format!("{} is left out: {PUBLIC}", candidate.shown()),
        })
        .collect();
    let more = candidates.len().saturating_sub(MOST);
    if more > 0 {
        told.push(format!("{more} more public objects are left out"));
    }
    told
}

#[cfg(test)]
mod tests {
    use cryptoki::object::KeyType;

    use super::*;
    use crate::token::attribute::Bytes;
    use crate::token::objects::candidate::Class;
    use crate::token::objects::candidate::Makeup;

    fn candidate(id: u8, private: bool) -> (u8, Candidate) {
        let candidate = Candidate {
            label: Bytes::Some(format!("kube.v{id}").into()),
            id: Bytes::Some(vec![id; 16]),
            private,
            makeup: Makeup {
                class: Class::Secret,
                key_type: Some(KeyType::AES),
                length: Some(32),
            },
        };
        (id, candidate)
    }

    fn counting(admission: &Admission) -> Vec<(u8, bool)> {
        let all = [(1, true), (1, false), (2, false), (3, true), (4, false)];
        let (counts, _) = admission.sort(all.map(|(id, private)| candidate(id, private)).to_vec());
        counts
            .into_iter()
            .map(|(id, candidate)| (id, candidate.private))
            .collect()
    }

    #[test]
    fn public_objects_count_as_far_as_they_are_admitted_and_never_beside_a_private_one_of_their_id() {
        assert_eq!(counting(&Admission::default()), [(1, true), (3, true)]);
        let ids = [1, 2].map(|id: u8| KeyId::try_from([id; 16].as_slice()).unwrap());
        assert_eq!(
            counting(&Admission::Only(ids.into())),
            [(1, true), (2, false), (3, true)]
        );
        assert_eq!(counting(&Admission::All).len(), 5);
    }

    fn up_to(number: u16, id: u8, listed: Vec<ListedVersion>) -> Admission {
        Admission::UpTo(UpTo {
            root_key: "kube".parse().unwrap(),
            listed,
            primary: Some(HighWater {
                number: number.try_into().unwrap(),
                id: KeyId::try_from([id; 16].as_slice()).unwrap(),
            }),
        })
    }

    #[test]
    fn of_before_the_records_are_the_primary_and_what_is_below_it() {
        for (number, id, counts) in [
            (1, 1, [(1, true), (3, true)].as_slice()),
            (2, 2, &[(1, true), (2, false), (3, true)]),
            // Another key with the primary's number.
            (2, 9, &[(1, true), (3, true)]),
            (3, 3, &[(1, true), (2, false), (3, true)]),
            (4, 4, &[(1, true), (2, false), (3, true), (4, false)]),
        ] {
            assert_eq!(counting(&up_to(number, id, Vec::new())), counts, "{number} {id}");
        }
    }

    #[test]
    fn of_before_the_records_is_what_the_configuration_lists_up_to_the_primary() {
        let listed = |number: u16, object| ListedVersion {
            object,
            number: number.try_into().unwrap(),
            activates: None,
            retired: None,
        };
        let by_id = |id: u8| ObjectName::Id([id; 16].as_slice().try_into().unwrap());
        let by_label = |label: &str| ObjectName::Label(label.to_owned());
        let all = vec![listed(1, by_id(2)), listed(2, by_label("kube.v4"))];
        assert_eq!(
            counting(&up_to(2, 4, all.clone())),
            [(1, true), (2, false), (3, true), (4, false)]
        );
        assert_eq!(counting(&up_to(1, 2, all)), [(1, true), (2, false), (3, true)]);
        // An object that two entries name was used before only if both were.
        let both = vec![listed(1, by_id(4)), listed(2, by_label("kube.v4"))];
        assert_eq!(counting(&up_to(1, 4, both)), [(1, true), (3, true)]);
    }

    #[test]
    fn a_flood_of_public_objects_is_told_in_a_few_lines() {
        let all: Vec<Candidate> = (0..100).map(|id| candidate(id, false).1).collect();
        let told = left_out(all.iter().collect());
        assert_eq!(told.len(), 6);
        assert!(told[0].starts_with("`kube.v0` (id 0000"), "{told:?}");
        assert_eq!(told[5], "95 more public objects are left out");
    }
}
