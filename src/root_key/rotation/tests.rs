//! Fixtures of the tests of rotation, and tests of the order of versions.

use super::*;
use crate::root_key::fake::active_from;
use crate::root_key::fake_admin::FakeAdmin;
use crate::root_key::fake_admin::version;
use crate::root_key::primary::by_calendar;
use crate::root_key::rotation::error::RotationError;
use crate::root_key::version::State;

/// The calendar of the tests.
pub(super) const NOW: u64 = 1_772_366_400;

pub(super) const fn at(second: u64) -> Timestamp {
    Timestamp::from_unix(second)
}

pub(super) fn retired_since(second: u64) -> State {
    State::RetiredSince(at(second))
}

pub(super) fn name() -> RootKeyName {
    "kube-root".parse().unwrap()
}

pub(super) fn selector(text: &str) -> Selector {
    text.parse().unwrap()
}

/// Applies the rules to a store at a moment. The calls of a fake never wait.
pub(super) fn rule<'a, T>(
    store: &'a FakeAdmin,
    shared: bool,
    now: u64,
    command: impl AsyncFnOnce(Rotation<'_>) -> Result<T, RotationError>,
) -> Result<T, RotationError> {
    rule_in_steps(Duration::from_secs(1), store, shared, now, command)
}

/// As above, for a store whose dates have this resolution.
pub(super) fn rule_in_steps<'a, T>(
    step: Duration,
    store: &'a FakeAdmin,
    shared: bool,
    now: u64,
    command: impl AsyncFnOnce(Rotation<'_>) -> Result<T, RotationError>,
) -> Result<T, RotationError> {
    let (name, clock) = (name(), Clock::turned(at(now)));
    let rotation = Rotation {
        admin: store,
        name: &name,
        clock: &clock,
        shared,
        step,
    };
    let call = std::pin::pin!(command(rotation));
    futures_util::FutureExt::now_or_never(call).unwrap()
}

/// The refusal in the error.
pub(super) fn refusal<T: std::fmt::Debug>(result: Result<T, RotationError>) -> Refusal {
    match result.unwrap_err() {
        RotationError::Refused(refusal) => refusal,
        other => panic!("{other:?}"),
    }
}

/// v1 has encrypted for a long time.
pub(super) fn one_version() -> FakeAdmin {
    FakeAdmin::with([version(1, 1, active_from(NOW - 100_000))])
}

#[test]
fn order_is_number_then_activation_then_id_and_the_highest_active_version_is_the_primary() {
    let versions = [
        version(3, 3, State::Pending),
        version(2, 4, active_from(NOW - 20)),
        version(2, 5, active_from(NOW - 10)),
        version(2, 6, active_from(NOW - 10)),
        version(2, 9, active_from(NOW + 1)),
        version(1, 8, active_from(NOW - 5)),
        version(4, 7, retired_since(NOW - 50)),
    ];
    assert_eq!(by_calendar(&versions, at(NOW)), Some(&versions[3]));
    assert_eq!(by_calendar(&versions, at(NOW + 1)), Some(&versions[4]));
    assert_eq!(by_calendar(&versions, at(NOW - 15)), Some(&versions[1]));
    assert_eq!(
        by_calendar(&versions, at(60)),
        None,
        "a clock in 1970 sees no version active"
    );
}

#[test]
fn pending_is_what_has_no_date_or_one_to_come() {
    let pending = |state: State| state.is_pending(at(NOW));
    assert!(pending(State::Pending) && pending(active_from(NOW + 1)));
    assert!(!pending(active_from(NOW)) && !pending(retired_since(NOW + 1)));
}

#[test]
fn a_selector_must_name_exactly_one_version() {
    let versions = [
        version(1, 1, State::Pending),
        version(2, 2, State::Pending),
        version(2, 3, State::Pending),
    ];
    assert_eq!(find(&versions, &selector("v1")), Ok(&versions[0]));
    assert_eq!(
        find(&versions, &selector(&versions[2].id.to_string())),
        Ok(&versions[2])
    );
    let said = find(&versions, &selector("2")).unwrap_err().to_string();
    assert!(
        said.contains(&versions[1].id.to_string()) && said.contains(&versions[2].id.to_string()),
        "{said}"
    );
    assert_eq!(
        find(&versions, &selector("7")).unwrap_err().to_string(),
        "there is no version v7; there are v1, v2, v2"
    );
    assert_eq!(
        find(&[], &selector("7")).unwrap_err().to_string(),
        "there is no version v7; there are none"
    );
}

#[test]
fn where_dates_have_minutes_what_is_asked_for_is_never_early_and_what_holds_now_never_waits() {
    const MINUTE: Duration = Duration::from_secs(60);
    const HALF_PAST: u64 = NOW + 30;
    let store = FakeAdmin::default();
    let made = rule_in_steps(MINUTE, &store, true, HALF_PAST, async |rules| rules.create(None).await);
    assert_eq!(made.unwrap().version.state, active_from(NOW));
    let in_ten = Some(10 * MINUTE);
    let made = rule_in_steps(MINUTE, &store, true, HALF_PAST, async |rules| {
        rules.rotate(in_ten, None).await
    });
    assert_eq!(made.unwrap().version.state, active_from(NOW + 660));
    let when = activate::When::At(at(HALF_PAST + 900));
    let dated = rule_in_steps(MINUTE, &store, true, HALF_PAST, async |rules| {
        rules.activate(Some(&selector("v2")), when, None).await
    });
    assert_eq!(dated.unwrap().at, at(NOW + 960));
    let later = HALF_PAST + 7200;
    let retired = rule_in_steps(MINUTE, &store, true, later, async |rules| {
        rules.retire(&selector("v1"), true).await
    });
    assert_eq!(retired.unwrap().state, retired_since(later - 30));
    let states: Vec<State> = store.now().iter().map(|version| version.state).collect();
    assert_eq!(
        states,
        [retired_since(later - 30), active_from(NOW + 960)],
        "as shown, so stored"
    );
}
