//! Promises of `keys retire`, `keys restore` and `keys destroy`.

use super::*;
use crate::root_key::fake::active_from;
use crate::root_key::fake_admin::FakeAdmin;
use crate::root_key::fake_admin::version;
use crate::root_key::rotation::tests::NOW;
use crate::root_key::rotation::tests::at;
use crate::root_key::rotation::tests::refusal;
use crate::root_key::rotation::tests::retired_since;
use crate::root_key::rotation::tests::rule;
use crate::root_key::rotation::tests::rule_in_steps;
use crate::root_key::rotation::tests::selector;

const DAY: u64 = 86_400;

fn retire_at(store: &FakeAdmin, which: &str, unaudited: bool, now: u64) -> Result<Version, RotationError> {
    let selector = selector(which);
    rule(store, false, now, async |rules| {
        rules.retire(&selector, unaudited).await
    })
}

fn retire(store: &FakeAdmin, which: &str) -> Result<Version, RotationError> {
    retire_at(store, which, true, NOW)
}

fn restore(store: &FakeAdmin, which: &str) -> Result<Version, RotationError> {
    let selector = selector(which);
    rule(store, false, NOW, async |rules| rules.restore(&selector).await)
}

fn destroy(
    store: &FakeAdmin,
    which: &str,
    retention: Duration,
    confirmed: Option<&str>,
) -> Result<Destroyed, RotationError> {
    let selector = selector(which);
    rule(store, false, NOW, async |rules| {
        rules.destroy(&selector, retention, true, confirmed).await
    })
}

/// v2 replaced v1 `ago` seconds ago.
fn rotated(ago: u64) -> FakeAdmin {
    FakeAdmin::with([
        version(1, 1, active_from(NOW - 100 * DAY)),
        version(2, 2, active_from(NOW - ago)),
    ])
}

#[test]
fn a_version_is_retired_and_restored() {
    let store = rotated(3600);
    assert_eq!(retire(&store, "v1").unwrap(), version(1, 1, retired_since(NOW)));
    assert!(!store.now()[0].state.decrypts());
    let restored = restore(&store, "v1").unwrap();
    assert!(restored.state.decrypts() && restored.state.is_active(at(NOW)));
    assert_eq!(store.now()[0], restored);
    assert_eq!(by_calendar(&store.now(), at(NOW)), Some(&store.now()[1]));
}

#[test]
fn the_primary_is_never_retired() {
    let store = rotated(3600);
    let said = refusal(retire(&store, "v2")).to_string();
    assert!(said.contains("v2 is the primary"), "{said}");
    assert_eq!(store.now(), rotated(3600).now());
}

#[test]
fn a_version_that_was_primary_within_the_hour_is_not_retired() {
    let store = rotated(3599);
    let said = refusal(retire(&store, "v1")).to_string();
    assert!(said.contains("1h") && said.contains("2026-03-01T12:00:01Z"), "{said}");
    retire(&rotated(3600), "v1").unwrap();
}

#[test]
fn the_hour_counts_from_the_next_higher_active_version() {
    let versions = [
        version(1, 1, active_from(NOW - 100 * DAY)),
        version(2, 2, active_from(NOW - DAY)),
        version(3, 3, active_from(NOW - 60)),
        version(4, 4, State::Pending),
    ];
    retire(&FakeAdmin::with(versions.clone()), "v1").unwrap();
    assert!(matches!(
        refusal(retire(&FakeAdmin::with(versions), "v2")),
        Refusal::PrimaryLately { .. }
    ));
}

#[test]
fn a_version_that_waits_is_put_aside_unless_nodes_may_go_by_its_date() {
    let with = |state| FakeAdmin::with([version(1, 1, active_from(5)), version(2, 2, state)]);
    retire(&with(State::Pending), "v2").unwrap();
    retire(&with(active_from(NOW + 301)), "v2").unwrap();
    let said = refusal(retire(&with(active_from(NOW + 300)), "v2")).to_string();
    assert!(said.contains("2026-03-01T12:05:00Z, which is near"), "{said}");
}

#[test]
fn without_an_audit_retire_and_destroy_demand_the_word_unaudited() {
    let store = rotated(3600);
    let said = refusal(retire_at(&store, "v1", false, NOW)).to_string();
    assert!(said.contains("every etcd") && said.contains("--unaudited"), "{said}");
    let store = FakeAdmin::with([version(1, 1, retired_since(5))]);
    let selector = selector("1");
    let destroyed = rule(&store, false, NOW, async |rules| {
        rules.destroy(&selector, RETENTION, false, Some("kube-root.v1")).await
    });
    assert!(matches!(refusal(destroyed), Refusal::Unaudited { .. }));
    assert_eq!(store.now().len(), 1);
}

#[test]
fn a_clock_that_is_behind_retires_nothing() {
    assert!(matches!(
        refusal(retire_at(&rotated(3600), "v1", true, 60)),
        Refusal::NoPrimary { .. }
    ));
    let store = rotated(3600);
    let a_little = retire_at(&store, "v1", true, NOW - 10);
    assert!(matches!(refusal(a_little), Refusal::PrimaryLately { .. }));
}

#[test]
fn what_is_retired_is_not_retired_again_and_what_is_not_is_not_restored() {
    let store = FakeAdmin::with([version(1, 1, retired_since(5)), version(2, 2, active_from(9))]);
    assert!(matches!(refusal(retire(&store, "1")), Refusal::AlreadyRetired { .. }));
    assert!(matches!(
        refusal(restore(&store, "2")),
        Refusal::NothingToRestore { .. }
    ));
}

#[test]
fn a_restored_version_never_outranks_the_primary() {
    let store = FakeAdmin::with([
        version(1, 1, retired_since(NOW - DAY)),
        version(2, 2, retired_since(NOW - 50)),
        version(2, 5, active_from(NOW - 100)),
        version(2, 9, retired_since(NOW - 50)),
        version(3, 3, retired_since(NOW - 20)),
    ]);
    let id_of = |place: usize| store.now()[place].id.to_string();
    for below in [id_of(0), id_of(1)] {
        let restored = restore(&store, &below).unwrap();
        assert_eq!(restored.state, active_from(NOW - 100), "it has the primary's date");
    }
    for above in [id_of(3), id_of(4)] {
        let restored = restore(&store, &above).unwrap();
        assert_eq!(restored.state, State::Pending, "it waits for a date");
    }
    assert_eq!(by_calendar(&store.now(), at(NOW + 1000 * DAY)), Some(&store.now()[2]));
}

#[test]
fn a_restored_version_becomes_active_by_no_clock_before_the_primary() {
    let store = FakeAdmin::with([
        version(1, 1, active_from(NOW - DAY)),
        version(2, 2, retired_since(NOW - 7200)),
        version(3, 3, active_from(NOW - 50)),
    ]);
    let selector = selector("2");
    let minute = Duration::from_secs(60);
    let restored = rule_in_steps(minute, &store, true, NOW, async |rules| rules.restore(&selector).await).unwrap();
    for slow_by in [0, 49, 50, 51, 3600, DAY] {
        let encrypts = by_calendar(&store.now(), at(NOW - slow_by)).unwrap().number;
        assert_ne!(encrypts, restored.number, "a clock that is slow by {slow_by} s");
    }
}

#[test]
fn destroy_demands_the_retention_which_is_90_days_unless_the_operator_says_otherwise() {
    let young = FakeAdmin::with([
        version(1, 1, retired_since(NOW - 90 * DAY + 1)),
        version(2, 2, active_from(5)),
    ]);
    let said = refusal(destroy(&young, "1", RETENTION, Some("kube-root.v1"))).to_string();
    assert!(said.contains("must stay so for 90d:"), "{said}");
    assert!(said.contains("2026-03-01T12:00:01Z"), "{said}");
    destroy(&young, "1", Duration::from_secs(DAY), Some("kube-root.v1")).unwrap();
    let old = FakeAdmin::with([version(1, 1, retired_since(NOW - 90 * DAY))]);
    let destroyed = destroy(&old, "1", RETENTION, Some("kube-root.v1")).unwrap();
    assert_eq!(
        destroyed.retired_since,
        at(NOW - 90 * DAY),
        "backups from before this become unreadable"
    );
    assert_eq!(old.now(), []);
}

#[test]
fn destroy_asks_for_the_name() {
    let store = FakeAdmin::with([version(1, 1, retired_since(5))]);
    for wrong in [
        None,
        Some(""),
        Some("v1"),
        Some("kube-root.v2"),
        Some("kube-root.v1 "),
        Some("other.v1"),
    ] {
        let said = refusal(destroy(&store, "1", RETENTION, wrong)).to_string();
        assert!(said.contains("--confirm kube-root.v1"), "{said}");
    }
    assert_eq!(store.now().len(), 1);
    destroy(&store, "1", RETENTION, Some("kube-root.v1")).unwrap();
}

#[test]
fn only_what_is_retired_is_destroyed() {
    for state in [State::Pending, active_from(5), active_from(NOW + 5)] {
        let store = FakeAdmin::with([version(1, 1, state)]);
        let refused = destroy(&store, "1", Duration::ZERO, Some("kube-root.v1"));
        assert!(matches!(refusal(refused), Refusal::NotRetired { .. }));
        assert_eq!(store.now().len(), 1);
    }
}
