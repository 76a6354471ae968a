//! Promises of `keys verify`.

use std::sync::Arc;

use super::*;
use crate::root_key::fake::Fake;
use crate::root_key::fake::Mood;
use crate::root_key::fake::active_from;
use crate::root_key::rotation::tests::NOW;
use crate::root_key::rotation::tests::at;
use crate::root_key::rotation::tests::name;
use crate::root_key::rotation::tests::retired_since;
use crate::root_key::rotation::tests::selector;
use crate::root_key::version::State;
use crate::root_key::waiters::Waiters;

fn now<T>(call: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(std::pin::pin!(call)).unwrap()
}

fn node() -> Arc<Fake> {
    let node = Fake::new();
    node.set(1, active_from(NOW - 100));
    node.set(2, State::Pending);
    node
}

fn record_of(node: &Fake, which: Option<&str>) -> Result<Record, VerifyError> {
    let selector = which.map(selector);
    now(record(node, &name(), selector.as_ref(), at(NOW)))
}

#[test]
fn a_record_opens_on_every_node_that_holds_the_same_key_and_on_no_other() {
    let (one, stranger) = (node(), node());
    let other = one.replica();
    let record = record_of(&one, None).unwrap();
    assert_eq!(u16::from(now(against(&*other, &name(), &record)).unwrap().number), 2);
    let error = now(against(&*stranger, &name(), &record)).unwrap_err();
    assert!(
        matches!(error, VerifyError::OtherKey { .. }) && error.to_string().contains("do not activate"),
        "{error}"
    );
}

/// Simulates CBC and RSA-OAEP: every wrap opens to some key.
#[test]
fn a_wrong_key_is_found_where_the_wrap_has_no_integrity_of_its_own() {
    let one = node();
    let record = record_of(&one, None).unwrap();
    one.set_mood(Mood::Lies);
    assert!(matches!(
        now(against(&*one, &name(), &record)),
        Err(VerifyError::OtherKey { .. })
    ));
}

#[test]
fn the_pending_version_is_recorded_unless_another_is_named() {
    let node = node();
    let number = |which| u16::from(record_of(&node, which).unwrap().number);
    assert_eq!((number(None), number(Some("v1"))), (2, 1));
    node.set(2, active_from(NOW + 5));
    node.set(3, active_from(NOW - 5));
    assert_eq!(number(None), 2, "its date is to come");
    node.set(2, active_from(NOW - 7));
    node.set(4, retired_since(NOW - 5));
    assert_eq!(number(None), 3, "the newest that decrypts");
}

#[test]
fn a_record_reads_back_and_holds_no_key() {
    let node = node();
    let record = record_of(&node, None).unwrap();
    let text = serde_json::to_string(&record).unwrap();
    assert_eq!(Record::parse(text.as_bytes()).unwrap(), record);
    let fields: serde_json::Value = serde_json::from_str(&text).unwrap();
    let mut names: Vec<&String> = fields.as_object().unwrap().keys().collect();
    names.sort();
    assert_eq!(
        names,
        [
            "apiVersion",
            "check",
            "id",
            "mechanism",
            "number",
            "root_key",
            "wrapped"
        ]
    );
    let wrapped = Wrapped {
        mechanism: Mechanism::AesGcm,
        bytes: hex::decode(&record.wrapped).unwrap(),
    };
    let key = now(node.unwrap(&record.id, &wrapped, &Waiters::of_daemon())).unwrap();
    let expected = Sha256::digest([b"dekhand/1/verify".as_slice(), key.expose()].concat());
    assert_eq!(record.check, hex::encode(expected), "as it is specified");
    assert!(!text.contains(&hex::encode(key.expose())));
}

#[test]
fn what_is_no_record_is_refused() {
    let good = serde_json::to_string(&record_of(&node(), None).unwrap()).unwrap();
    let changed = |from: &str, to: &str| good.replacen(from, to, 1);
    for wrong in [
        String::new(),
        "[]".into(),
        good.replace("verify/v1", "verify/v2"),
        changed("\"number\":2", "\"number\":0"),
        changed("\"number\"", "\"key\":\"\",\"number\""),
    ] {
        assert!(
            matches!(Record::parse(wrong.as_bytes()), Err(VerifyError::NoRecord(_))),
            "{wrong}"
        );
    }
    for wrong in [
        changed("\"mechanism\":1", "\"mechanism\":77"),
        changed("\"mechanism\":1", "\"mechanism\":3"),
        changed("\"wrapped\":\"", "\"wrapped\":\"x"),
        changed("\"check\":\"", "\"check\":\"x"),
    ] {
        let record = Record::parse(wrong.as_bytes()).unwrap();
        assert!(
            matches!(now(against(&*node(), &name(), &record)), Err(VerifyError::NoRecord(_))),
            "{wrong}"
        );
    }
}

#[test]
fn a_record_is_about_one_version_of_one_root_key() {
    let (one, other) = (node(), Fake::new());
    let record = record_of(&one, None).unwrap();
    let elsewhere = "other".parse().unwrap();
    assert!(matches!(
        now(against(&*one, &elsewhere, &record)),
        Err(VerifyError::OtherRootKey { .. })
    ));
    let error = now(against(&*other, &name(), &record)).unwrap_err();
    assert!(error.to_string().contains("this node does not have v2"), "{error}");
    other.set_with_number(2, 5, State::Pending);
    assert!(matches!(
        now(against(&*other, &name(), &record)),
        Err(VerifyError::OtherNumber { .. })
    ));
}

#[test]
fn a_store_that_is_away_proves_nothing() {
    let node = node();
    let record = record_of(&node, None).unwrap();
    node.set_mood(Mood::Away);
    assert!(matches!(
        now(against(&*node, &name(), &record)),
        Err(VerifyError::Store(_))
    ));
    assert!(matches!(record_of(&node, None), Err(VerifyError::Store(_))));
    assert!(matches!(
        record_of(&Fake::new(), None),
        Err(VerifyError::Refused(Refusal::HasNone { .. }))
    ));
}
