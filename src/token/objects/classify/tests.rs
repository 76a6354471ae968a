//! The promises of discovery about the objects that it reads.

use cryptoki::object::KeyType;
use proptest::prelude::*;

use super::*;
use crate::clock::Timestamp;
use crate::root_key::version::Number;
use crate::token::attribute::Bytes;
use crate::token::objects::candidate::Class;
use crate::token::objects::candidate::Makeup;

fn name() -> RootKeyName {
    "kube".parse().unwrap()
}

fn aes(label: &str, id: &[u8]) -> Candidate {
    Candidate {
        label: Bytes::Some(label.into()),
        id: Bytes::Some(id.into()),
        private: true,
        makeup: Makeup {
            class: Class::Secret,
            key_type: Some(KeyType::AES),
            length: Some(32),
        },
    }
}

fn listed(object: ObjectName, number: u16) -> ListedVersion {
    ListedVersion {
        object,
        number: Number::try_from(number).unwrap(),
        activates: Some(Timestamp::from_unix(60)),
        retired: None,
    }
}

fn by_id(id: &[u8]) -> ObjectName {
    ObjectName::Id(id.try_into().unwrap())
}

fn shown(judgement: &Judgement) -> Vec<String> {
    let shown = |(version, place): &(Version, usize)| format!("{} {} {place}", version.number, version.id);
    judgement.versions.iter().map(shown).collect()
}

#[test]
fn versions_come_in_order_each_with_its_object() {
    let judgement = by_label(
        &name(),
        &[
            aes("kube.v10", &[1; 16]),
            aes("kube.v2@20260301T1200Z", &[2; 8]),
            aes("kube.v1~20260301T1200Z", &[3; 32]),
        ],
    );
    assert_eq!(
        shown(&judgement),
        [
            format!("v1 {} 2", "03".repeat(32)),
            format!("v2 {} 1", "02".repeat(8)),
            format!("v10 {} 0", "01".repeat(16)),
        ]
    );
    assert!(judgement.warnings.is_empty());
    let states: Vec<State> = judgement.versions.iter().map(|(version, _)| version.state).collect();
    assert!(matches!(
        states.as_slice(),
        [State::RetiredSince(_), State::ActiveFrom(_), State::Pending]
    ));
}

#[test]
fn two_versions_of_one_number_are_rivals_and_both_there() {
    let rivals = [aes("kube.v1", &[1; 16]), aes("kube.v1", &[2; 16])];
    assert_eq!(by_label(&name(), &rivals).versions.len(), 2);
}

#[test]
fn of_two_objects_with_one_id_neither_is_used() {
    let candidates = [
        aes("kube.v1", &[1; 16]),
        aes("kube.v2", &[2; 16]),
        aes("kube.v3", &[1; 16]),
    ];
    let judgement = by_label(&name(), &candidates);
    assert_eq!(shown(&judgement), [format!("v2 {} 1", "02".repeat(16))]);
    let [warning] = judgement.warnings.as_slice() else {
        panic!("{:?}", judgement.warnings)
    };
    assert!(
        warning.starts_with("`kube.v1` and `kube.v3`") && warning.contains(&"01".repeat(16)),
        "{warning}"
    );
}

#[test]
fn what_can_be_no_root_key_is_left_out_with_its_label_and_the_reason() {
    let mut generic = aes("kube.v1", &[1; 16]);
    generic.makeup.key_type = Some(KeyType::GENERIC_SECRET);
    let mut short = aes("kube.v2", &[2; 16]);
    short.makeup.length = Some(16);
    let mut without_id = aes("kube.v5", &[]);
    without_id.id = Bytes::None;
    let mut long_id = aes("kube.v6", &[]);
    long_id.id = Bytes::TooLong(40);
    let mut elliptic = aes("kube.v7", &[7; 16]);
    elliptic.makeup = Makeup {
        class: Class::Private,
        key_type: Some(KeyType::EC),
        length: None,
    };
    for (candidate, reason) in [
        (generic, "`kube.v1` is left out: it is not an AES key"),
        (short, "`kube.v2` is left out: it has 128 bits"),
        (aes("kube.v3", &[3; 7]), "`kube.v3` is left out: its CKA_ID has 7 bytes"),
        (aes("kube.v4", &[]), "`kube.v4` is left out: its CKA_ID has 0 bytes"),
        (without_id, "`kube.v5` is left out: its CKA_ID has 0 bytes"),
        (long_id, "`kube.v6` is left out: its CKA_ID has 40 bytes"),
        (elliptic, "`kube.v7` is left out: it is not an RSA key"),
        (
            aes("kube.v01", &[8; 16]),
            "`kube.v01` is left out: a version's label is",
        ),
    ] {
        let judgement = by_label(&name(), &[candidate]);
        assert!(judgement.versions.is_empty(), "{reason}");
        assert!(
            matches!(judgement.warnings.as_slice(), [warning] if warning.starts_with(reason)),
            "{reason}: {:?}",
            judgement.warnings
        );
    }
}

#[test]
fn a_token_that_does_not_say_type_and_length_is_believed() {
    let mut silent = aes("kube.v1", &[1; 16]);
    silent.makeup.key_type = None;
    silent.makeup.length = None;
    assert_eq!(by_label(&name(), &[silent]).versions.len(), 1);
}

#[test]
fn strangers_are_no_kin_and_misspelt_labels_are() {
    for (label, expected) in [
        ("kube.v1", Ownership::Ours),
        ("kube.v1@20260230T0000Z", Ownership::Misspelt),
        ("kube.vault", Ownership::Foreign),
        ("kube2.v1", Ownership::Foreign),
        ("", Ownership::Foreign),
    ] {
        assert_eq!(kinship(&name(), Some(label.as_bytes())), expected, "{label}");
    }
    assert_eq!(kinship(&name(), None), Ownership::Foreign);
    assert_eq!(kinship(&name(), Some(b"\xff\xfe")), Ownership::Foreign);
    assert_eq!(kinship(&name(), Some(b"kube.v1\xff")), Ownership::Misspelt);
}

#[test]
fn a_list_replaces_labels() {
    let list = [
        listed(by_id(&[1; 16]), 4),
        listed(ObjectName::Label("made by hand".into()), 5),
    ];
    let candidates = [aes("kube.v9~20260301T1200Z", &[1; 16]), aes("made by hand", &[2; 16])];
    let judgement = by_list(&list, &candidates, &[0, 1]);
    assert_eq!(
        shown(&judgement),
        [format!("v4 {} 0", "01".repeat(16)), format!("v5 {} 1", "02".repeat(16))]
    );
    assert!(judgement.warnings.is_empty());
    let at = State::ActiveFrom(Timestamp::from_unix(60));
    assert!(judgement.versions.iter().all(|(version, _)| version.state == at));
}

#[test]
fn a_listed_version_that_is_missing_or_ambiguous_is_left_out_and_named() {
    let list = [listed(by_id(&[1; 16]), 1), listed(ObjectName::Label("twice".into()), 2)];
    let candidates = [aes("twice", &[2; 16]), aes("twice", &[3; 16])];
    let judgement = by_list(&list, &candidates, &[1, 1]);
    assert!(judgement.versions.is_empty());
    assert_eq!(
        judgement.warnings,
        [
            format!("v1 (id {}) is left out: the token holds no such key", "01".repeat(16)),
            "v2 (label `twice`) is left out: the token holds more than one such key".to_owned(),
        ]
    );
}

#[test]
fn one_object_listed_twice_is_no_version() {
    let list = [listed(by_id(&[1; 16]), 1), listed(ObjectName::Label("a".into()), 2)];
    let judgement = by_list(&list, &[aes("a", &[1; 16]), aes("a", &[1; 16])], &[0, 1]);
    assert!(judgement.versions.is_empty());
    assert_eq!(judgement.warnings.len(), 1);
}

#[test]
fn what_a_list_says_of_a_version_is_its_state() {
    let mut retired = listed(by_id(&[1; 16]), 1);
    retired.retired = Some(Timestamp::from_unix(120));
    let mut pending = listed(by_id(&[2; 16]), 2);
    pending.activates = None;
    let judgement = by_list(&[retired, pending], &[aes("a", &[1; 16]), aes("b", &[2; 16])], &[0, 1]);
    let states: Vec<State> = judgement.versions.iter().map(|(version, _)| version.state).collect();
    assert_eq!(states, [State::RetiredSince(Timestamp::from_unix(120)), State::Pending]);
}

#[test]
fn warnings_are_bounded_and_safe_to_print() {
    let odd: Vec<Candidate> = (0..1000)
        .map(|number| aes(&format!("kube.v1\u{1b}{number}"), &[1; 16]))
        .collect();
    let judgement = by_label(&name(), &odd);
    assert_eq!(judgement.warnings.len(), MOST_WARNINGS + 1);
    assert_eq!(judgement.warnings.last().unwrap(), "980 more objects are left out");
    assert!(judgement.warnings.iter().all(|warning| !warning.contains('\u{1b}')));
}

proptest! {
    #[test]
    fn no_objects_make_it_panic_and_every_version_has_an_id_of_its_own(
        objects in proptest::collection::vec(
            (
                prop_oneof!["kube\\.v[0-9]{0,5}[@~]?[0-9TZ]{0,15}", any::<String>()],
                proptest::collection::vec(0..2_u8, 0..40),
            ),
            0..30,
        ),
    ) {
        let candidates: Vec<Candidate> = objects.iter().map(|(label, id)| aes(label, id)).collect();
        let judgement = by_label(&name(), &candidates);
        let mut ids: Vec<&KeyId> = judgement.versions.iter().map(|(version, _)| &version.id).collect();
        ids.sort_unstable();
        prop_assert!(ids.windows(2).all(|pair| pair[0] != pair[1]));
        prop_assert!(judgement.versions.windows(2).all(|pair| pair[0].0.rank() <= pair[1].0.rank()));
    }
}
