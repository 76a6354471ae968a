//! Promises of `keys create`, `keys rotate` and `keys import`.

use super::*;
use crate::root_key::error::Kind;
use crate::root_key::fake::active_from;
use crate::root_key::fake::id;
use crate::root_key::fake_admin::FakeAdmin;
use crate::root_key::fake_admin::Trick;
use crate::root_key::fake_admin::version;
use crate::root_key::rotation::tests::NOW;
use crate::root_key::rotation::tests::at;
use crate::root_key::rotation::tests::name;
use crate::root_key::rotation::tests::one_version;
use crate::root_key::rotation::tests::refusal;
use crate::root_key::rotation::tests::retired_since;
use crate::root_key::rotation::tests::rule;

const TEN_MINUTES: Duration = Duration::from_secs(600);

fn create(store: &FakeAdmin, recorded: Option<&HighWater>) -> Result<Made, RotationError> {
    rule(store, false, NOW, async |rules| rules.create(recorded).await)
}

fn rotate(store: &FakeAdmin) -> Result<Made, RotationError> {
    rule(store, false, NOW, async |rules| rules.rotate(None, None).await)
}

fn rotate_in(store: &FakeAdmin, shared: bool, now: u64) -> Result<Made, RotationError> {
    rule(store, shared, now, async |rules| {
        rules.rotate(Some(TEN_MINUTES), None).await
    })
}

fn import(store: &FakeAdmin, recorded: Option<&HighWater>) -> Result<Made, RotationError> {
    let key = Key::random().unwrap();
    rule(store, false, NOW, async |rules| rules.import(key, recorded).await)
}

fn alone(version: Version) -> Made {
    Made {
        version,
        yielded: None,
        rivals: Vec::new(),
    }
}

#[test]
fn create_makes_v1_active_at_once() {
    let store = FakeAdmin::default();
    let v1 = version(1, 50, active_from(NOW));
    assert_eq!(create(&store, None).unwrap(), alone(v1.clone()));
    assert_eq!(store.now(), [v1]);
}

#[test]
fn create_refuses_a_name_that_has_versions() {
    for state in [State::Pending, active_from(1), retired_since(1)] {
        let store = FakeAdmin::with([version(1, 1, state)]);
        let said = refusal(create(&store, None)).to_string();
        assert!(said.contains("v1") && said.contains("dekhand keys rotate"), "{said}");
        assert_eq!(store.now().len(), 1);
    }
}

#[test]
fn a_store_that_was_lost_is_not_created_anew_in_silence() {
    let recorded = HighWater {
        number: Number::try_from(3).unwrap(),
        id: id(3),
    };
    let store = FakeAdmin::default();
    for refused in [create(&store, Some(&recorded)), import(&store, Some(&recorded))] {
        let said = refusal(refused).to_string();
        assert!(said.contains("v3") && said.contains("accept-loss"), "{said}");
    }
    assert_eq!(store.now(), []);
}

#[test]
fn no_version_is_made_twice_in_a_store_from_before_it() {
    let recorded = HighWater {
        number: Number::try_from(2).unwrap(),
        id: id(2),
    };
    let store = one_version();
    let rotated = rule(&store, true, NOW, async |rules| {
        rules.rotate(None, Some(&recorded)).await
    });
    for refused in [
        rotated,
        create(&store, Some(&recorded)),
        import(&store, Some(&recorded)),
    ] {
        let said = refusal(refused).to_string();
        assert!(said.contains("version v2 with id 0202"), "{said}");
        assert!(said.contains("dekhand keys accept-loss 0202"), "{said}");
    }
    assert_eq!(store.now(), one_version().now());
    let store = FakeAdmin::with([version(1, 1, active_from(5)), version(2, 2, active_from(6))]);
    let next = rule(&store, true, NOW, async |rules| {
        rules.rotate(None, Some(&recorded)).await
    });
    assert_eq!(next.unwrap(), alone(version(3, 50, State::Pending)));
}

#[test]
fn rotate_makes_the_next_version_pending() {
    let store = FakeAdmin::with([
        version(1, 1, retired_since(5)),
        version(7, 7, retired_since(5)),
        version(4, 4, active_from(5)),
    ]);
    assert_eq!(rotate(&store).unwrap(), alone(version(8, 50, State::Pending)));
    assert_eq!(store.now().last(), Some(&version(8, 50, State::Pending)));
}

#[test]
fn rotate_refuses_while_one_is_pending() {
    let store = FakeAdmin::with([version(1, 1, active_from(1)), version(2, 2, State::Pending)]);
    let said = refusal(rotate(&store)).to_string();
    assert!(
        said.contains("v2") && said.contains("dekhand keys activate v2"),
        "{said}"
    );
    let store = FakeAdmin::with([version(1, 1, active_from(1)), version(2, 2, active_from(NOW + 60))]);
    let said = refusal(rotate(&store)).to_string();
    assert!(
        said.contains(&at(NOW + 60).to_string()) && said.contains("rotate after that"),
        "{said}"
    );
    assert!(matches!(refusal(import(&store, None)), Refusal::Dated { .. }));
    assert_eq!(store.now().len(), 2);
}

#[test]
fn rotate_needs_a_first_version_and_a_number_to_come() {
    assert_eq!(
        refusal(rotate(&FakeAdmin::default())),
        Refusal::HasNone { name: name() }
    );
    let last = FakeAdmin::with([version(9999, 1, active_from(1))]);
    assert_eq!(refusal(rotate(&last)), Refusal::NoNumberLeft);
}

#[test]
fn rotate_dates_the_version_in_the_same_step_where_one_store_serves_all_nodes() {
    let store = one_version();
    let made = rotate_in(&store, true, NOW).unwrap();
    assert_eq!(made, alone(version(2, 50, active_from(NOW + 600))));
    assert_eq!(store.now().last(), Some(&made.version));
}

#[test]
fn activate_in_is_refused_with_the_reason_where_every_node_has_a_store_of_its_own() {
    let store = one_version();
    let said = refusal(rotate_in(&store, false, NOW)).to_string();
    assert!(said.contains("of its own") && said.contains("keys verify"), "{said}");
    assert_eq!(store.now().len(), 1);
}

#[test]
fn a_clock_that_is_behind_dates_nothing() {
    let store = one_version();
    let said = refusal(rotate_in(&store, true, 60)).to_string();
    assert!(said.contains("1970-01-01T00:01:00Z"), "the clock is shown: {said}");
    assert_eq!(store.now().len(), 1);
}

#[test]
fn of_two_versions_made_at_once_the_maker_of_the_lower_id_destroys_its_own() {
    let store = one_version().play(Trick::Rival(60));
    let made = rotate(&store).unwrap();
    let rival = version(2, 60, State::Pending);
    let expected = Made {
        version: rival.clone(),
        yielded: Some(id(50)),
        rivals: Vec::new(),
    };
    assert_eq!(made, expected);
    assert_eq!(store.now().last(), Some(&rival));
    assert_eq!(store.now().len(), 2);
}

#[test]
fn of_two_versions_made_at_once_the_maker_of_the_higher_id_keeps_its_own_and_leaves_the_other() {
    let store = one_version().play(Trick::Rival(40));
    let made = rotate_in(&store, true, NOW).unwrap();
    assert_eq!((made.yielded, made.rivals), (None, vec![id(40)]));
    assert_eq!(made.version, version(2, 50, active_from(NOW + 600)));
    assert_eq!(store.now().len(), 3, "only its maker destroys a version");
}

#[test]
fn two_creates_at_once_leave_one_first_version() {
    let store = FakeAdmin::default().play(Trick::Rival(60));
    assert_eq!(create(&store, None).unwrap().yielded, Some(id(50)));
    assert_eq!(store.now(), [version(1, 60, State::Pending)], "its maker dates it");
}

#[test]
fn a_version_that_the_store_does_not_show_is_an_error() {
    let store = one_version().play(Trick::Lags);
    assert!(matches!(rotate(&store), Err(RotationError::Unlisted { .. })));
}

#[test]
fn a_version_that_could_not_be_dated_or_taken_back_is_told() {
    let store = FakeAdmin::default().play(Trick::NoChanges);
    let error = create(&store, None).unwrap_err();
    let RotationError::Undated { made, source } = &error else {
        panic!("{error:?}");
    };
    assert_eq!(
        (made.clone(), source.kind()),
        (version(1, 50, State::Pending), Kind::Refusal)
    );
    assert!(error.to_string().contains("dekhand keys activate v1"), "{error}");
    assert_eq!(store.now(), [version(1, 50, State::Pending)]);
}

#[test]
fn import_makes_v1_active_at_once_or_the_next_version_pending() {
    let store = FakeAdmin::default();
    assert_eq!(import(&store, None).unwrap(), alone(version(1, 50, active_from(NOW))));
    assert_eq!(import(&store, None).unwrap(), alone(version(2, 51, State::Pending)));
    assert!(store.has_imported());
}
