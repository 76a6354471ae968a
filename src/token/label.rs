//! The labels of a token's objects: root key, number and state of a version.
//!
//! | label | state |
//! |---|---|
//! | `name.vN` | pending |
//! | `name.vN@yyyymmddThhmmZ` | active from this minute |
//! | `name.vN~yyyymmddThhmmZ` | retired since this minute |
//!
//! They have at most 37 bytes, which every token stores, and are compared as a whole: `name.v1` does not match
//! `name.v10`.

use crate::clock::Timestamp;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;
use crate::root_key::version::State;

/// The most bytes of a label.
pub(crate) const LONGEST: usize = 37;

const MINUTE: u64 = 60;
/// 9999-12-31T23:59:00Z: a year has four digits.
const LAST: u64 = 253_402_300_740;

/// The label of a version. It has a resolution of one minute: give it a [`rounded`] state.
pub(crate) fn write(name: &RootKeyName, number: Number, state: State) -> String {
    let mark = match state {
        State::Pending => return format!("{name}.{number}"),
        State::ActiveFrom(_) => '@',
        State::RetiredSince(_) => '~',
    };
    let minute = state.moment().map(minute).unwrap_or_default();
    format!("{name}.{number}{mark}{minute}")
}

/// The content of a label; `None` if it is not one that [`write()`] writes for this root key.
pub(crate) fn parse(name: &RootKeyName, label: &str) -> Option<(Number, State)> {
    if label.len() > LONGEST {
        return None;
    }
    let version = rest_of(name, label)?;
    let (number, state) = if let Some((number, moment)) = version.split_once('@') {
        (number, State::ActiveFrom(moment_of(moment)?))
    } else if let Some((number, moment)) = version.split_once('~') {
        (number, State::RetiredSince(moment_of(moment)?))
    } else {
        (version, State::Pending)
    };
    let number = Number::try_from(number.parse::<u16>().ok()?).ok()?;
    // Rejects leading zeros, signs, and everything else that the parsers tolerate.
    (write(name, number, state) == label).then_some((number, state))
}

/// Whether a label that [`parse`] rejects was probably meant for this root key: the name alone, or name and number with
/// other separators, capitals or a wrong date. A mistake in a key ceremony deserves a warning. A valid label of another
/// root key was not meant for this one.
pub(crate) fn resembles(name: &RootKeyName, label: &str) -> bool {
    if let Some((other, _)) = label.split_once(".v")
        && let Ok(other) = other.parse()
        && *name != other
        && parse(&other, label).is_some()
    {
        return false;
    }
    let plain = |text: &str| {
        text.replace(|character: char| !character.is_ascii_alphanumeric(), "")
            .to_ascii_lowercase()
    };
    let label = plain(label);
    label.strip_prefix(&plain(name.as_str())).is_some_and(|rest| {
        let number = rest.strip_prefix('v');
        rest.is_empty() || number.is_some_and(|number| number.starts_with(|first: char| first.is_ascii_digit()))
    })
}

/// The state with its moment rounded to the minute. A past moment is rounded down, so that it stays in the past; a
/// future one is rounded up, so that nothing happens earlier than requested.
pub(crate) fn rounded(state: State, now: Timestamp) -> State {
    let round = |moment: Timestamp| {
        let passed = moment.unix() / MINUTE * MINUTE;
        let minute = if moment <= now || passed == moment.unix() {
            passed
        } else {
            passed.saturating_add(MINUTE)
        };
        Timestamp::from_unix(minute.min(LAST))
    };
    match state {
        State::Pending => State::Pending,
        State::ActiveFrom(moment) => State::ActiveFrom(round(moment)),
        State::RetiredSince(moment) => State::RetiredSince(round(moment)),
    }
}

fn rest_of<'a>(name: &RootKeyName, label: &'a str) -> Option<&'a str> {
    label.strip_prefix(name.as_str())?.strip_prefix(".v")
}

/// `2026-03-01T12:00:59Z` is `20260301T1200Z`.
fn minute(moment: Timestamp) -> String {
    let mut text = moment.to_string();
    text.truncate("2026-03-01T12:00".len());
    text.retain(|character| !matches!(character, '-' | ':'));
    text.push('Z');
    text
}

fn moment_of(minute: &str) -> Option<Timestamp> {
    let bytes = minute.as_bytes();
    let digits = |range: std::ops::Range<usize>| {
        let digits = bytes.get(range).filter(|digits| digits.iter().all(u8::is_ascii_digit));
        digits.and_then(|digits| std::str::from_utf8(digits).ok())
    };
    let (year, month, day) = (digits(0..4)?, digits(4..6)?, digits(6..8)?);
    let (hour, minute) = (digits(9..11)?, digits(11..13)?);
    // The separators are checked when the label is written again.
    format!("{year}-{month}-{day}T{hour}:{minute}:00Z").parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name() -> RootKeyName {
        "kube-root".parse().unwrap()
    }

    fn number(number: u16) -> Number {
        Number::try_from(number).unwrap()
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn labels_are_those_of_the_design() {
        let noon = at("2026-03-01T12:00:00Z");
        for (label, version, state) in [
            ("kube-root.v1", 1, State::Pending),
            ("kube-root.v12@20260301T1200Z", 12, State::ActiveFrom(noon)),
            ("kube-root.v9999~20260301T1200Z", 9999, State::RetiredSince(noon)),
        ] {
            assert_eq!(write(&name(), number(version), state), label);
            assert_eq!(parse(&name(), label), Some((number(version), state)), "{label}");
        }
    }

    #[test]
    fn the_longest_label_has_37_bytes() {
        let name: RootKeyName = "0123456789abcdef".parse().unwrap();
        let label = write(&name, number(9999), State::ActiveFrom(Timestamp::from_unix(u64::MAX)));
        assert_eq!(label.len(), LONGEST);
        assert!(parse(&name, &label).is_some(), "{label}");
    }

    #[test]
    fn what_is_not_exactly_a_label_is_none() {
        for label in [
            "",
            "kube-root",
            "kube-root.v",
            "kube-root.v0",
            "kube-root.v01",
            "kube-root.v+1",
            "kube-root.v-1",
            "kube-root.v10000",
            "kube-root.v65537",
            "kube-root.v1 ",
            " kube-root.v1",
            "kube-root.v1\0",
            "kube-root.V1",
            "Kube-root.v1",
            "kube.v1",
            "kube-root2.v1",
            "kube-root.v1.v2",
            "kube-root.v1@",
            "kube-root.v1~",
            "kube-root.v1@20260301",
            "kube-root.v1@20260301T1200",
            "kube-root.v1@20260301T120000Z",
            "kube-root.v1@20260301t1200Z",
            "kube-root.v1@20260301T1200z",
            "kube-root.v1@20260301 1200Z",
            "kube-root.v1@2026-03-01T12Z",
            "kube-root.v1@20260229T1200Z",
            "kube-root.v1@20260001T1200Z",
            "kube-root.v1@20261301T1200Z",
            "kube-root.v1@20260300T1200Z",
            "kube-root.v1@20260431T1200Z",
            "kube-root.v1@20260301T2400Z",
            "kube-root.v1@20260301T1260Z",
            "kube-root.v1@19691231T2359Z",
            "kube-root.v1@+0260301T1200Z",
            "kube-root.v1@2026030１T1200Z",
            "kube-root.v1@20260301T1200Z~20260301T1200Z",
            "kube-root.v1~20260301T1200Z@20260301T1200Z",
            "kube-root.v1@20260301T1200Z ",
            "kube-root.v１",
        ] {
            assert_eq!(parse(&name(), label), None, "{label:?}");
        }
        assert!(parse(&name(), "kube-root.v1@20280229T1200Z").is_some());
    }

    #[test]
    fn a_label_with_a_mistake_resembles_one_of_ours_and_a_stranger_does_not() {
        for label in [
            "kube-root.v1@20260229T1200Z",
            "kube-root",
            "Kube_Root.V1",
            "kube-root v1",
            "kuberoot.v01",
        ] {
            assert!(resembles(&name(), label), "{label}");
        }
        for label in ["kube-root2.v1", "kuberoot.v1", "tls.v1", "kube-root.vault", ""] {
            assert!(!resembles(&name(), label), "{label}");
        }
    }

    #[test]
    fn a_moment_stays_passed_or_to_come() {
        let now = at("2026-03-01T12:00:30Z");
        let round = |text| rounded(State::ActiveFrom(at(text)), now).moment().unwrap().to_string();
        assert_eq!(round("2026-03-01T12:00:30Z"), "2026-03-01T12:00:00Z");
        assert_eq!(round("2026-03-01T12:00:31Z"), "2026-03-01T12:01:00Z");
        assert_eq!(round("2026-03-01T12:05:00Z"), "2026-03-01T12:05:00Z");
        assert_eq!(round("2026-03-01T12:05:01Z"), "2026-03-01T12:06:00Z");
    }

    fn states() -> impl Strategy<Value = State> {
        let moments = prop_oneof![0..LAST + 120, any::<u64>()].prop_map(Timestamp::from_unix);
        prop_oneof![
            Just(State::Pending),
            moments.clone().prop_map(State::ActiveFrom),
            moments.prop_map(State::RetiredSince),
        ]
    }

    proptest! {
        #[test]
        fn a_label_reads_back_as_the_rounded_state(
            name in "[a-z0-9-]{1,16}",
            number in 1..=9999_u16,
            state in states(),
            now in 0..2 * LAST,
        ) {
            let (name, number) = (name.parse().unwrap(), Number::try_from(number).unwrap());
            let now = Timestamp::from_unix(now);
            let rounded_state = rounded(state, now);
            let label = write(&name, number, rounded_state);
            prop_assert!(label.len() <= LONGEST);
            prop_assert_eq!(parse(&name, &label), Some((number, rounded_state)));
            prop_assert_eq!(rounded(rounded_state, now), rounded_state);
        }

        #[test]
        fn rounding_never_moves_a_moment_across_now(moment in 0..LAST, now in 0..LAST) {
            let (moment, now) = (Timestamp::from_unix(moment), Timestamp::from_unix(now));
            let round = rounded(State::ActiveFrom(moment), now).moment().unwrap();
            prop_assert_eq!(round <= now, moment <= now);
            prop_assert!(round.unix().abs_diff(moment.unix()) < MINUTE);
            prop_assert!(moment <= now || round >= moment);
        }

        #[test]
        fn no_text_makes_the_parser_panic_or_reads_as_another(text in any::<String>()) {
            prop_assert!(parse(&name(), &text).is_none_or(|(number, state)| write(&name(), number, state) == text));
        }

        #[test]
        fn an_edited_label_is_none_or_reads_back(
            at in any::<prop::sample::Index>(),
            character in prop_oneof![any::<char>(), prop::char::range('!', '~')],
        ) {
            let mut label: Vec<char> = "kube-root.v12@20260301T1200Z".chars().collect();
            let place = at.index(label.len());
            label[place] = character;
            let label: String = label.into_iter().collect();
            if let Some((number, state)) = parse(&name(), &label) {
                prop_assert_eq!(write(&name(), number, state), label);
            }
        }
    }
}
