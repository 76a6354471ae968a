//! Public objects among the token's keys: none counts, hides another object, or is read in every discovery.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::ObjectClass;

use super::*;
use crate::root_key::high_water::HighWater;
use crate::token::objects::candidate::Class;
use crate::token::test_token::plant_public;

const LABEL: &str = "kube.v1@20260301T1200Z";

/// A token's treatment of `CKA_PRIVATE` in the template of a search.
const SEARCHES: [&str; 4] = [
    "",
    "search-ignores CKA_PRIVATE",
    "search-refuses CKA_PRIVATE",
    "search-refuses CKA_PRIVATE 0xD1",
];

fn listing(object: ObjectName) -> Finder {
    let version = ListedVersion {
        object,
        number: Number::FIRST,
        activates: Some(Timestamp::from_unix(60)),
        retired: None,
    };
    Finder::new("kube".parse().unwrap(), vec![version])
}

#[test]
fn a_public_object_does_not_count_and_is_told_of() {
    alone::run(|token| {
        let session = session();
        for control in SEARCHES {
            token.set(control);
            let planted = plant_public(&session, "kube.v9@20260301T1200Z", &[9; 16]);
            let finder = finder();
            let found = finder.all(&session).unwrap();
            assert!(found.versions.is_empty(), "{control}");
            let [warning] = found.warnings.as_slice() else {
                panic!("{control}: {:?}", found.warnings)
            };
            assert!(
                warning.contains("kube.v9") && warning.contains("public object"),
                "{warning}"
            );
            let missing = finder.key_at_once(&session, &id(&[9; 16]));
            assert!(
                matches!(missing, Err(TokenError::NotFound(_))),
                "{control}: {missing:?}"
            );
            session.destroy_object(planted).unwrap();
            assert!(finder.all(&session).unwrap().warnings.is_empty(), "{control}");
        }
    });
}

#[test]
fn a_public_twin_hides_no_private_key_and_shares_no_id_with_it() {
    alone::run(|token| {
        let session = session();
        let genuine = aes(&session, LABEL, &[1; 16]);
        for label in [LABEL, "kube.v2"] {
            plant_public(&session, label, &[1; 16]);
        }
        for control in SEARCHES {
            token.set(control);
            let finders = [
                finder(),
                listing(ObjectName::Id(id(&[1; 16]))),
                listing(ObjectName::Label(LABEL.to_owned())),
            ];
            for (at, finder) in finders.iter().enumerate() {
                let found = finder.all(&session).unwrap();
                assert_eq!(numbers(&found), [1], "{control} {at}: {:?}", found.warnings);
                assert!(found.warnings.iter().any(|warning| warning.contains("public object")));
                let key = finder.key_at_once(&session, &id(&[1; 16])).unwrap();
                assert_eq!(key.unwraps, genuine, "{control} {at}");
            }
        }
    });
}

#[test]
fn what_does_not_show_whether_it_is_private_counts_as_public() {
    alone::run(|token| {
        let session = session();
        aes(&session, LABEL, &[1; 16]);
        token.set("hide-attribute CKA_PRIVATE");
        assert!(finder().all(&session).unwrap().versions.is_empty());
        let finder = finder();
        finder.admit(Admission::Only([id(&[1; 16])].into()));
        assert_eq!(numbers(&finder.all(&session).unwrap()), [1]);
        // A failing token is no sign of a public object.
        token.set("C_GetAttributeValue fail 0x30 after 1");
        let fresh = super::finder();
        assert_eq!(
            fresh.all(&session).unwrap_err().value(),
            Some(ReturnValue::DEVICE_ERROR)
        );
    });
}

#[test]
fn public_versions_count_that_are_admitted_until_there_is_a_private_one() {
    alone::run(|_| {
        let session = session();
        let public = plant_public(&session, LABEL, &[1; 16]);
        plant_public(&session, "kube.v2", &[2; 16]);
        plant_public(&session, "kube.v3", &[3; 16]);
        let finder = finder();
        finder.admit(Admission::UpTo(UpTo {
            root_key: "kube".parse().unwrap(),
            listed: Vec::new(),
            primary: Some(HighWater {
                number: 2.try_into().unwrap(),
                id: id(&[2; 16]),
            }),
        }));
        let found = finder.all(&session).unwrap();
        assert_eq!((numbers(&found), found.public.len()), (vec![1, 2], 2));
        finder.admit(Admission::Only([id(&[1; 16])].into()));
        let found = finder.all(&session).unwrap();
        assert_eq!((numbers(&found), found.public.len()), (vec![1], 1));
        assert_eq!(finder.key_at_once(&session, &id(&[1; 16])).unwrap().unwraps, public);
        let copy = aes(&session, LABEL, &[1; 16]);
        let found = finder.all(&session).unwrap();
        assert_eq!((numbers(&found), found.public.len()), (vec![1], 0));
        assert_eq!(finder.key_at_once(&session, &id(&[1; 16])).unwrap().unwraps, copy);
    });
}

#[test]
fn with_private_false_public_objects_count_as_private_ones_do() {
    alone::run(|_| {
        let session = session();
        plant_public(&session, LABEL, &[1; 16]);
        let finder = finder();
        finder.admit(Admission::All);
        let found = finder.all(&session).unwrap();
        assert_eq!((numbers(&found), found.public.len()), (vec![1], 0));
        plant_public(&session, LABEL, &[1; 16]);
        assert!(
            finder.all(&session).unwrap().versions.is_empty(),
            "nobody knows which is meant"
        );
    });
}

#[test]
fn a_flood_of_public_objects_is_read_once() {
    alone::run(|token| {
        let session = session();
        aes(&session, LABEL, &[1; 16]);
        for number in 0..40 {
            plant_public(&session, "kube.v2", &[100 + number; 16]);
        }
        let finder = finder();
        let found = finder.all(&session).unwrap();
        assert_eq!(numbers(&found), [1]);
        assert!(
            found.warnings.last().unwrap().contains("35 more"),
            "{:?}",
            found.warnings
        );
        // The genuine one each time, and a sixtieth of the others.
        let of_one = reads(token, &finder, &session);
        assert!(of_one < 40, "{of_one}");
    });
}

#[test]
fn an_rsa_pair_is_its_own_whatever_public_keys_lie_beside_it() {
    alone::run(|token| {
        let session = session();
        let named = |private: bool| {
            vec![
                Attribute::Token(true),
                Attribute::Private(private),
                Attribute::Label(LABEL.into()),
                Attribute::Id(vec![1; 16]),
            ]
        };
        let public = [
            named(false),
            vec![
                Attribute::ModulusBits(2048.into()),
                Attribute::PublicExponent(vec![1, 0, 1]),
                Attribute::Encrypt(true),
            ],
        ];
        let private = [named(true), vec![Attribute::Decrypt(true)]];
        let make = |private: &[Attribute]| {
            let pair = Mechanism::RsaPkcsKeyPairGen;
            session.generate_key_pair(&pair, &public.concat(), private).unwrap()
        };
        let (half, secret) = make(&private.concat());
        let modulus = attribute::bytes(&session, half, cryptoki::object::AttributeType::Modulus, 1024).unwrap();
        let modulus = modulus.as_deref().unwrap().to_vec();
        let beside = |modulus: Vec<u8>, exponent: Vec<u8>, encrypts: bool| {
            let more = vec![
                Attribute::Class(ObjectClass::PUBLIC_KEY),
                Attribute::KeyType(KeyType::RSA),
                Attribute::Modulus(modulus),
                Attribute::PublicExponent(exponent),
                Attribute::Encrypt(encrypts),
            ];
            session.create_object(&[named(false), more].concat()).unwrap();
        };
        let mut other = modulus.clone();
        *other.last_mut().unwrap() ^= 2;
        beside(other, vec![1, 0, 1], true);
        beside(modulus.clone(), vec![3], true);
        beside(modulus, vec![1, 0, 1], false);
        for control in SEARCHES {
            token.set(control);
            let key = finder().key_at_once(&session, &id(&[1; 16])).unwrap();
            assert_eq!((key.wraps, key.unwraps), (half, secret), "{control}");
        }
        // An attacker's complete pair, whose private half is public.
        make(&[named(false), vec![Attribute::Decrypt(true)]].concat());
        for control in SEARCHES {
            token.set(control);
            let finder = finder();
            assert_eq!(numbers(&finder.all(&session).unwrap()), [1], "{control}");
            let key = finder.key_at_once(&session, &id(&[1; 16])).unwrap();
            assert_eq!((key.wraps, key.unwraps), (half, secret), "{control}");
        }
    });
}

#[test]
fn thousands_of_public_keys_under_the_id_cost_no_more_than_a_few() {
    alone::run(|token| {
        let session = session();
        let reads = |finder: &Finder| {
            token.forget_calls();
            let key = finder.key_at_once(&session, &id(&[1; 16])).unwrap();
            (key, token.calls("C_GetAttributeValue"))
        };
        let (half, secret) = rsa(&session, LABEL, &[1; 16], 2048);
        let (_, alone) = reads(&finder());
        for number in 0..300_u16 {
            let modulus = [&[0xC0, 1][..], &number.to_be_bytes(), &[1; 252]].concat();
            let planted = [
                Attribute::Class(ObjectClass::PUBLIC_KEY),
                Attribute::KeyType(KeyType::RSA),
                Attribute::Token(true),
                Attribute::Private(false),
                Attribute::Id(vec![1; 16]),
                Attribute::Modulus(modulus),
                Attribute::PublicExponent(vec![1, 0, 1]),
                Attribute::Encrypt(true),
            ];
            session.create_object(&planted).unwrap();
        }
        let (key, among_others) = reads(&finder());
        assert_eq!((key.wraps, key.unwraps), (half, secret));
        assert_eq!(among_others, alone);
        // If there is none to be found, this many objects are read and no more.
        session.destroy_object(half).unwrap();
        let (key, bounded) = reads(&finder());
        assert!(key.only_unwraps() && bounded < 500, "{bounded}");
    });
}

#[test]
fn a_public_key_that_vanishes_while_a_pair_is_put_together_is_no_error() {
    alone::run(|token| {
        let session = session();
        let (half, _) = rsa(&session, LABEL, &[1; 16], 2048);
        session.destroy_object(half).unwrap();
        // The number of reads, and the number of those that may not fail.
        let reads = || {
            token.set("");
            token.forget_calls();
            finder().key_at_once(&session, &id(&[1; 16])).unwrap();
            let all = token.calls("C_GetAttributeValue");
            let fails = |read: &usize| {
                token.set(&format!("C_GetAttributeValue fail 0x82 after {read} times 1"));
                finder().key_at_once(&session, &id(&[1; 16])).is_err()
            };
            (all, (0..all).filter(fails).count())
        };
        let (before, needed) = reads();
        let planted = [
            Attribute::Class(ObjectClass::PUBLIC_KEY),
            Attribute::KeyType(KeyType::RSA),
            Attribute::Token(true),
            Attribute::Private(false),
            Attribute::Id(vec![1; 16]),
            Attribute::Modulus(vec![0xC1; 256]),
            Attribute::PublicExponent(vec![1, 0, 1]),
        ];
        session.create_object(&planted).unwrap();
        let (with_another, still_needed) = reads();
        assert!(with_another > before);
        assert_eq!(still_needed, needed);
    });
}

#[test]
fn a_list_costs_a_pair_another_look_for_its_public_half_and_no_other() {
    alone::run(|token| {
        let session = session();
        let (half, secret) = rsa(&session, LABEL, &[1; 16], 2048);
        let finder = finder();
        let id = id(&[1; 16]);
        assert_eq!(finder.key_at_once(&session, &id).unwrap().wraps, half);
        // Another object of the same public key, under another handle.
        let copy = session.copy_object(half, &[]).unwrap();
        session.destroy_object(half).unwrap();
        for _ in 0..30 {
            plant_public(&session, LABEL, &[1; 16]);
        }
        token.set("search-ignores CKA_PRIVATE");
        finder.all(&session).unwrap();
        token.forget_calls();
        let key = finder.key_at_once(&session, &id).unwrap();
        assert_eq!((key.wraps, key.unwraps), (copy, secret));
        let reads = token.calls("C_GetAttributeValue");
        assert!(reads < 30, "{reads}");
        token.forget_calls();
        finder.key_at_once(&session, &id).unwrap();
        assert_eq!(token.calls("C_GetAttributeValue"), 0);
    });
}

#[test]
fn an_object_that_vanishes_between_search_and_read_is_no_error() {
    alone::run(|token| {
        let session = session();
        let genuine = aes(&session, LABEL, &[1; 16]);
        let twin = plant_public(&session, LABEL, &[1; 16]);
        let finder = listing(ObjectName::Id(id(&[1; 16])));
        token.forget_calls();
        finder.all(&session).unwrap();
        let reads = token.calls("C_GetAttributeValue");
        session.destroy_object(twin).unwrap();
        token.forget_calls();
        finder.all(&session).unwrap();
        let of_genuine = token.calls("C_GetAttributeValue");
        assert!(reads > of_genuine);
        // An invalid handle gives the same error as one whose object has just been destroyed; if the object is still
        // listed, the token fails.
        plant_public(&session, LABEL, &[1; 16]);
        token.set(&format!("C_GetAttributeValue fail 0x82 after {of_genuine} times 1"));
        assert_eq!(
            finder.all(&session).unwrap_err().value(),
            Some(ReturnValue::OBJECT_HANDLE_INVALID)
        );
        let gone = [
            FoundKey {
                class: Class::Secret,
                handle: twin,
            },
            FoundKey {
                class: Class::Secret,
                handle: genuine,
            },
        ];
        token.set("");
        let read = named::read(&session, &ObjectName::Id(id(&[1; 16])), gone.to_vec(), &|| true).unwrap();
        assert_eq!(read.len(), 1);
    });
}

#[test]
fn of_a_public_twin_nothing_but_that_is_read_where_searches_do_not_look_at_it() {
    alone::run(|token| {
        let session = session();
        aes(&session, LABEL, &[1; 16]);
        let reads = |control: &str| {
            token.set(control);
            token.forget_calls();
            finder().key_at_once(&session, &id(&[1; 16])).unwrap();
            token.calls("C_GetAttributeValue")
        };
        for control in &SEARCHES[1..] {
            let alone = reads(control);
            let twins: Vec<ObjectHandle> = (0..30).map(|_| plant_public(&session, LABEL, &[1; 16])).collect();
            assert_eq!(reads(control), alone + 2 * twins.len(), "{control}");
            for twin in twins {
                session.destroy_object(twin).unwrap();
            }
        }
    });
}
