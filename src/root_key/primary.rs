//! The rules that decide which version encrypts: order, activation and "never backwards". Stateless.

use crate::clock::Timestamp;
use crate::root_key::high_water::HighWater;
use crate::root_key::id::KeyId;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;

/// The decision of the rules.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Choice {
    /// This version encrypts.
    Primary(Version),
    /// This version should encrypt, and will as soon as there is a proven data key under it.
    Wait(Version),
    /// No version may encrypt until an operator does what the sentence asks for.
    Refuse(String),
}

/// This node has reported a version as its primary that the store does not have: the store was lost, or is a copy from
/// before the version was made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "version {number} with id {id}, which this node has reported as primary, is missing from the store; bring the store \
     up to date, or run `dekhand keys accept-loss {id}` to continue without it"
)]
pub struct LostPrimary {
    /// Its number.
    pub number: Number,
    /// Its id.
    pub id: KeyId,
}

/// The version of a store that this node has reported as its primary; `None` if it has reported none.
///
/// # Errors
/// The store does not have it.
pub fn reported<'a>(
    versions: &'a [Version],
    high_water: Option<&HighWater>,
) -> Result<Option<&'a Version>, LostPrimary> {
    let Some(HighWater { number, id }) = high_water else {
        return Ok(None);
    };
    match versions.iter().find(|version| version.id == *id) {
        Some(version) => Ok(Some(version)),
        None => Err(LostPrimary {
            number: *number,
            id: id.clone(),
        }),
    }
}

/// The version that encrypts by the store and the calendar alone. A node may still use the one before: it switches when
/// it has made a data key under the new one, and never back ([`Candidates::choose`]).
pub fn by_calendar(versions: &[Version], now: Timestamp) -> Option<&Version> {
    let candidates = Candidates {
        versions,
        high_water: None,
        now,
    };
    candidates.active(None).first().copied()
}

/// The versions of the first root key of the configuration, with the input of the decision between them.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Candidates<'a> {
    pub(crate) versions: &'a [Version],
    /// The highest version that this node has ever reported.
    pub(crate) high_water: Option<&'a HighWater>,
    pub(crate) now: Timestamp,
}

impl<'a> Candidates<'a> {
    /// The highest version whose activation has passed and that `has_data_key`, and never one below the high-water
    /// mark.
    pub(crate) fn choose(self, has_data_key: impl Fn(&KeyId) -> bool) -> Choice {
        let floor = match self.floor() {
            Ok(floor) => floor,
            Err(refusal) => return Choice::Refuse(refusal),
        };
        let active = self.active(floor);
        let Some(highest) = active.first() else {
            return Choice::Refuse(self.why_none_is_active());
        };
        match active.iter().find(|version| has_data_key(&version.id)) {
            Some(version) => Choice::Primary((*version).clone()),
            None => Choice::Wait((*highest).clone()),
        }
    }

    /// The versions that need data keys, highest first: the version that encrypts and every higher one, so that a
    /// switch needs no token.
    pub(crate) fn need_data_keys(self) -> Vec<Version> {
        let floor = match (self.floor(), self.choose(|_| true)) {
            (Err(_), _) => return Vec::new(),
            (Ok(Some(floor)), _) => Some(floor.clone()),
            (Ok(None), Choice::Primary(highest)) => Some(highest),
            (Ok(None), _) => None,
        };
        let mut needed: Vec<_> = self.decrypting().cloned().collect();
        needed.retain(|version| floor.as_ref().is_none_or(|floor| version.rank() >= floor.rank()));
        needed.sort_by(|one, other| other.rank().cmp(&one.rank()));
        needed
    }

    /// The version that encrypts, or, while none is active, the one that will be active first, of those that
    /// `has_data_key`.
    pub(crate) fn in_line(self, has_data_key: impl Fn(&KeyId) -> bool) -> Option<Version> {
        self.floor().ok()?;
        match self.choose(&has_data_key) {
            Choice::Primary(version) => Some(version),
            Choice::Wait(_) => None,
            Choice::Refuse(_) => {
                let ready = self.decrypting().filter(|version| has_data_key(&version.id));
                let dated = ready.filter(|version| version.state.moment().is_some());
                dated
                    .min_by_key(|version| (version.state.moment(), std::cmp::Reverse(version.rank())))
                    .cloned()
            }
        }
    }

    /// When the next activation is due.
    pub(crate) fn next_activation(self) -> Option<Timestamp> {
        let moments = self.decrypting().filter_map(|version| version.state.moment());
        moments.filter(|moment| *moment > self.now).min()
    }

    /// The active versions from the floor up, highest first.
    fn active(self, floor: Option<&Version>) -> Vec<&'a Version> {
        let mut active: Vec<_> = self.decrypting().filter(|version| self.is_active(version)).collect();
        active.retain(|version| floor.is_none_or(|floor| version.rank() >= floor.rank()));
        active.sort_by_key(|version| std::cmp::Reverse(version.rank()));
        active
    }

    fn decrypting(self) -> impl Iterator<Item = &'a Version> {
        self.versions.iter().filter(|version| version.state.decrypts())
    }

    /// A version that this node has reported is active at any time: a machine's clock may start in 1970.
    fn is_active(self, version: &Version) -> bool {
        version.state.is_active(self.now) || self.high_water.is_some_and(|highest| highest.id == version.id)
    }

    /// The version below which none encrypts any more.
    fn floor(self) -> Result<Option<&'a Version>, String> {
        match reported(self.versions, self.high_water) {
            Ok(Some(retired)) if !retired.state.decrypts() => Err(format!(
                "version {} with id {}, which this node has reported as primary, is retired; to use it again, run \
                 `dekhand keys restore`",
                retired.number, retired.id
            )),
            Ok(floor) => Ok(floor),
            Err(lost) => Err(lost.to_string()),
        }
    }

    fn why_none_is_active(self) -> String {
        let future = self.decrypting().filter_map(|version| match version.state {
            State::ActiveFrom(moment) => Some(moment),
            State::Pending | State::RetiredSince(_) => None,
        });
        // To the minute: a sentence that changes every second would be logged every second.
        let now = Timestamp::from_unix(self.now.unix() / 60 * 60);
        if let Some(first) = future.min() {
            return format!(
                "every version becomes active in the future, the first at {first}; this node's clock says {now}: set \
                 the clock, or wait"
            );
        }
        if self.decrypting().next().is_some() {
            "no version has been activated; run `dekhand keys activate`".into()
        } else {
            "the root key has no version that could encrypt; run `dekhand keys create` to make the first".into()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::from_unix(1_000_000);

    fn id(byte: u8) -> KeyId {
        KeyId::try_from([byte; 16].as_slice()).unwrap()
    }

    fn version(number: u16, state: State) -> Version {
        Version {
            number: Number::try_from(number).unwrap(),
            state,
            id: id(u8::try_from(number).unwrap()),
        }
    }

    fn active(number: u16) -> Version {
        version(
            number,
            State::ActiveFrom(Timestamp::from_unix(500_000 + u64::from(number))),
        )
    }

    fn future(number: u16) -> Version {
        version(number, State::ActiveFrom(Timestamp::from_unix(2_000_000)))
    }

    fn retired(number: u16) -> Version {
        version(number, State::RetiredSince(Timestamp::from_unix(600_000)))
    }

    fn high_water(version: &Version) -> HighWater {
        HighWater {
            number: version.number,
            id: version.id.clone(),
        }
    }

    fn choose(versions: &[Version], high_water: Option<&HighWater>, with_keys: &[u8]) -> Choice {
        Candidates {
            versions,
            high_water,
            now: NOW,
        }
        .choose(|wanted| with_keys.iter().any(|byte| id(*byte) == *wanted))
    }

    #[test]
    fn the_primary_is_the_highest_active_version_with_a_proven_data_key() {
        let versions = [active(1), active(2), future(3), version(4, State::Pending)];
        assert_eq!(choose(&versions, None, &[1, 2, 3, 4]), Choice::Primary(active(2)));
        let reported = high_water(&active(1));
        assert_eq!(
            choose(&versions, Some(&reported), &[1]),
            Choice::Primary(active(1)),
            "v2 is not proven yet"
        );
        assert_eq!(choose(&versions, None, &[]), Choice::Wait(active(2)));
    }

    #[test]
    fn a_version_below_the_reported_one_never_encrypts_again() {
        let reported = high_water(&active(2));
        assert_eq!(
            choose(&[active(1), active(2)], Some(&reported), &[1]),
            Choice::Wait(active(2))
        );
        let Choice::Refuse(sentence) = choose(&[active(1)], Some(&reported), &[1]) else {
            panic!("a store without the reported version must be a refusal");
        };
        assert!(
            sentence.contains("v2") && sentence.contains(&id(2).to_string()),
            "{sentence}"
        );
        assert!(matches!(
            choose(&[active(1), retired(2)], Some(&reported), &[1, 2]),
            Choice::Refuse(_)
        ));
    }

    #[test]
    fn a_reported_version_is_never_left_for_one_of_its_number_that_has_a_lower_id() {
        let of_v2 = |byte, state| Version {
            id: id(byte),
            ..version(2, state)
        };
        let (early, late) = (
            State::ActiveFrom(Timestamp::from_unix(500_000)),
            State::ActiveFrom(Timestamp::from_unix(600_000)),
        );
        let other = of_v2(7, late);
        for state in [State::Pending, early, late] {
            let reported = of_v2(8, state);
            assert_eq!(
                choose(
                    &[other.clone(), reported.clone()],
                    Some(&high_water(&reported)),
                    &[7, 8]
                ),
                Choice::Primary(reported.clone())
            );
        }
    }

    #[test]
    fn a_clock_in_1970_does_not_take_the_reported_version_away() {
        let versions = [active(1), active(2)];
        let reported = high_water(&active(2));
        let at_boot = Candidates {
            versions: &versions,
            high_water: Some(&reported),
            now: Timestamp::from_unix(60),
        };
        assert_eq!(at_boot.choose(|_| true), Choice::Primary(active(2)));
    }

    #[test]
    fn without_a_mark_and_with_every_activation_in_the_future_the_clock_is_shown() {
        let versions = [active(1), active(2)];
        let at_boot = Candidates {
            versions: &versions,
            high_water: None,
            now: Timestamp::from_unix(60),
        };
        let Choice::Refuse(sentence) = at_boot.choose(|_| true) else {
            panic!("nothing is active yet");
        };
        assert!(sentence.contains("1970-01-01T00:01:00Z"), "{sentence}");
    }

    #[test]
    fn a_refusal_is_the_same_sentence_a_second_later() {
        let refusals = [600, 601].map(|second| {
            let (now, high_water) = (Timestamp::from_unix(second), None);
            let versions = &[active(1)];
            Candidates {
                versions,
                high_water,
                now,
            }
            .choose(|_| true)
        });
        assert!(matches!(&refusals[0], Choice::Refuse(_)));
        assert_eq!(refusals[0], refusals[1]);
    }

    #[test]
    fn without_any_active_version_the_operator_is_told_what_to_do() {
        let refusal = |versions: &[Version]| match choose(versions, None, &[1, 2]) {
            Choice::Refuse(sentence) => sentence,
            other => panic!("{other:?}"),
        };
        assert!(refusal(&[]).contains("keys create"));
        assert!(refusal(&[retired(1)]).contains("keys create"));
        assert!(refusal(&[version(1, State::Pending)]).contains("keys activate"));
    }

    #[test]
    fn data_keys_are_made_for_the_primary_and_everything_above_it() {
        let versions = [active(1), active(2), version(3, State::Pending), future(4), retired(5)];
        let numbers = |high_water: Option<&HighWater>| {
            let needed = Candidates {
                versions: &versions,
                high_water,
                now: NOW,
            }
            .need_data_keys();
            needed
                .iter()
                .map(|version| u16::from(version.number))
                .collect::<Vec<_>>()
        };
        assert_eq!(numbers(None), [4, 3, 2]);
        assert_eq!(numbers(Some(&high_water(&active(1)))), [4, 3, 2, 1]);
        assert_eq!(
            numbers(Some(&high_water(&active(9)))),
            [] as [u16; 0],
            "no data key is made if the store lacks the high-water mark"
        );
    }

    #[test]
    fn in_line_is_the_first_to_come_that_has_data_keys_and_nothing_instead_of_what_is_lost() {
        let versions = [future(2), future(3), version(4, State::Pending)];
        let in_line = |high_water: Option<&HighWater>, with_data_keys: &[u8]| {
            let candidates = Candidates {
                versions: &versions,
                high_water,
                now: NOW,
            };
            let in_line = candidates.in_line(|of| with_data_keys.iter().any(|byte| id(*byte) == *of));
            in_line.map(|version| u16::from(version.number))
        };
        assert_eq!(in_line(None, &[2, 3, 4]), Some(3), "of one date the highest");
        assert_eq!(in_line(None, &[2, 4]), Some(2));
        assert_eq!(in_line(None, &[4]), None);
        assert_eq!(
            in_line(Some(&high_water(&active(1))), &[2, 3]),
            None,
            "the store lacks the high-water mark"
        );
    }

    #[test]
    fn the_next_activation_is_the_earliest_to_come() {
        let versions = [active(1), future(2)];
        let candidates = Candidates {
            versions: &versions,
            high_water: None,
            now: NOW,
        };
        assert_eq!(candidates.next_activation(), Some(Timestamp::from_unix(2_000_000)));
    }
}
