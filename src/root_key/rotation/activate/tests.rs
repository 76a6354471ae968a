//! Promises of `keys activate`.

use super::*;
use crate::root_key::fake::active_from;
use crate::root_key::fake::id;
use crate::root_key::fake_admin::FakeAdmin;
use crate::root_key::fake_admin::version;
use crate::root_key::rotation::tests::NOW;
use crate::root_key::rotation::tests::at;
use crate::root_key::rotation::tests::refusal;
use crate::root_key::rotation::tests::retired_since;
use crate::root_key::rotation::tests::rule;
use crate::root_key::rotation::tests::selector;

const TEN_MINUTES: When = When::In(Duration::from_secs(600));

fn activate_at(store: &FakeAdmin, which: Option<&str>, when: When, now: u64) -> Result<Dated, RotationError> {
    let selector = which.map(selector);
    rule(store, false, now, async |rules| {
        rules.activate(selector.as_ref(), when, None).await
    })
}

fn activate(store: &FakeAdmin, which: Option<&str>, when: When) -> Result<Dated, RotationError> {
    activate_at(store, which, when, NOW)
}

fn pending() -> FakeAdmin {
    FakeAdmin::with([version(1, 1, active_from(NOW - 1000)), version(2, 2, State::Pending)])
}

#[test]
fn activate_dates_the_pending_version_and_says_the_absolute_time() {
    let store = pending();
    let dated = activate(&store, None, TEN_MINUTES).unwrap();
    assert_eq!((dated.at, dated.before), (at(NOW + 600), None));
    assert_eq!(dated.at.to_string(), "2026-03-01T12:10:00Z");
    assert_eq!(store.now()[1], version(2, 2, active_from(NOW + 600)));
    let store = pending();
    let dated = activate(&store, Some("v2"), When::At(at(NOW + 7))).unwrap();
    assert_eq!(dated.version, version(2, 2, active_from(NOW + 7)));
}

#[test]
fn nothing_is_dated_in_a_store_that_lacks_what_this_node_has_reported() {
    let store = pending();
    let activate = |recorded: HighWater| {
        rule(&store, false, NOW, async |rules| {
            rules.activate(None, TEN_MINUTES, Some(&recorded)).await
        })
    };
    let mark = |byte, number: u16| HighWater {
        number: number.try_into().unwrap(),
        id: id(byte),
    };
    assert!(matches!(refusal(activate(mark(9, 2))), Refusal::Lost { .. }));
    assert_eq!(store.now(), pending().now());
    activate(mark(1, 1)).unwrap();
}

#[test]
fn only_the_pending_version_is_activated() {
    let store = FakeAdmin::with([
        version(1, 1, active_from(NOW - 1000)),
        version(2, 2, retired_since(NOW - 10)),
    ]);
    assert_eq!(refusal(activate(&store, None, TEN_MINUTES)), Refusal::NothingPending);
    let said = refusal(activate(&store, Some("v1"), TEN_MINUTES)).to_string();
    assert!(said.contains("v1 has been active since"), "{said}");
    let said = refusal(activate(&store, Some("v2"), TEN_MINUTES)).to_string();
    assert!(said.contains("dekhand keys restore v2"), "{said}");
    assert!(matches!(
        refusal(activate(&store, Some("v3"), TEN_MINUTES)),
        Refusal::Unknown { .. }
    ));
}

#[test]
fn of_several_pending_versions_one_is_named_by_its_id() {
    let store = FakeAdmin::with([
        version(1, 1, active_from(NOW - 1000)),
        version(2, 2, State::Pending),
        version(2, 3, State::Pending),
    ]);
    assert!(matches!(
        refusal(activate(&store, None, TEN_MINUTES)),
        Refusal::SeveralPending { .. }
    ));
    assert!(matches!(
        refusal(activate(&store, Some("2"), TEN_MINUTES)),
        Refusal::Ambiguous { .. }
    ));
    let id = store.now()[2].id.to_string();
    activate(&store, Some(&id), TEN_MINUTES).unwrap();
    assert_eq!(store.now()[2], version(2, 3, active_from(NOW + 600)));
}

#[test]
fn a_date_to_come_can_be_moved_and_the_old_one_is_told() {
    let store = FakeAdmin::with([
        version(1, 1, active_from(NOW - 1000)),
        version(2, 2, active_from(NOW + 60)),
    ]);
    let dated = activate(&store, None, TEN_MINUTES).unwrap();
    assert_eq!((dated.at, dated.before), (at(NOW + 600), Some(at(NOW + 60))));
}

#[test]
fn a_moment_in_the_past_or_beyond_a_year_is_refused_with_the_clock() {
    let store = pending();
    let said = refusal(activate(&store, None, When::At(at(NOW - 1)))).to_string();
    assert!(
        said.contains("2026-03-01T11:59:59Z") && said.contains("2026-03-01T12:00:00Z"),
        "{said}"
    );
    for far in [
        When::At(at(NOW + 400 * 86_400)),
        When::In(Duration::from_secs(400 * 86_400)),
        When::In(Duration::MAX),
    ] {
        assert!(
            matches!(refusal(activate(&store, None, far)), Refusal::TooFar { .. }),
            "{far:?}"
        );
    }
    assert_eq!(store.now(), pending().now());
}

#[test]
fn a_clock_far_behind_does_not_activate_at_once_on_every_other_node() {
    let store = pending();
    let said = refusal(activate_at(&store, None, TEN_MINUTES, 60)).to_string();
    assert!(said.contains("1970-01-01T00:01:00Z") && said.contains("--at"), "{said}");
    let store = FakeAdmin::with([
        version(1, 1, retired_since(NOW)),
        version(2, 2, active_from(NOW - 90_000)),
        version(3, 3, State::Pending),
    ]);
    let a_day_late = activate_at(&store, None, TEN_MINUTES, NOW - 86_400);
    assert!(matches!(refusal(a_day_late), Refusal::ClockBehind { .. }));
    activate_at(&store, None, When::At(at(NOW)), NOW - 86_400).unwrap();
    // v2 is in the future by this node's clock alone.
    let store = FakeAdmin::with([version(1, 1, retired_since(NOW)), version(2, 2, active_from(NOW - 60))]);
    let moved = activate_at(&store, Some("2"), When::At(at(NOW)), NOW - 120);
    assert!(matches!(refusal(moved), Refusal::ClockBehind { .. }));
}

#[test]
fn versions_become_primary_in_the_order_of_their_numbers() {
    let store = FakeAdmin::with([
        version(1, 1, active_from(NOW - 1000)),
        version(2, 2, State::Pending),
        version(3, 3, active_from(NOW + 600)),
        version(4, 4, State::Pending),
    ]);
    let said = refusal(activate(&store, Some("2"), TEN_MINUTES)).to_string();
    assert!(said.contains("v2 would never encrypt: v3 is higher"), "{said}");
    let said = refusal(activate(&store, Some("4"), When::At(at(NOW + 599)))).to_string();
    assert!(said.contains("v3 becomes active only at"), "{said}");
    activate(&store, Some("4"), When::At(at(NOW + 600))).unwrap();
}
