//! The promises of discovery, with SoftHSM.

mod planted;

use cryptoki::object::Attribute;
use cryptoki::object::KeyType;
use cryptoki::object::ObjectHandle;
use token_shim::alone;
use token_shim::token::Token;

use super::*;
use crate::clock::Timestamp;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::token::test_token::plant;
use crate::token::test_token::session;

fn finder() -> Finder {
    Finder::new("kube".parse().unwrap(), Vec::new())
}

impl Finder {
    /// In a single time slice.
    pub(crate) fn all(&self, session: &Session) -> Result<Found, TokenError> {
        let calls = Calls::load(&token_shim::path())?;
        match self.find(&calls, session, 1, &|| true)? {
            Discovery::Found(found) => Ok(found),
            Discovery::Underway { left } => panic!("{left} are left"),
        }
    }
}

impl Finder {
    /// The objects of a version, at a fast token.
    pub(crate) fn key_at_once(&self, session: &Session, id: &KeyId) -> Result<KeyObject, TokenError> {
        self.key(session, id, &|| true)
    }
}

fn aes(session: &Session, label: &str, id: &[u8]) -> ObjectHandle {
    plant(session, label, id, KeyType::AES, 32)
}

fn id(bytes: &[u8]) -> KeyId {
    bytes.try_into().unwrap()
}

fn numbers(found: &Found) -> Vec<u16> {
    found.versions.iter().map(|version| version.number.into()).collect()
}

fn rename(session: &Session, object: ObjectHandle, label: &str) {
    session
        .update_attributes(object, &[Attribute::Label(label.into())])
        .unwrap();
}

/// The number of attributes that one more discovery reads.
fn reads(token: &Token, finder: &Finder, session: &Session) -> usize {
    token.forget_calls();
    finder.all(session).unwrap();
    token.calls("C_GetAttributeValue")
}

#[test]
fn versions_are_found_among_strangers() {
    alone::run(|_| {
        let session = session();
        assert!(finder().all(&session).unwrap().versions.is_empty());
        aes(&session, "kube.v2", &[2; 16]);
        aes(&session, "kube.v1@20260301T1200Z", &[1; 16]);
        aes(&session, "kube.v3~20260301T1200Z", &[3; 8]);
        aes(&session, "kube2.v4", &[4; 16]);
        aes(&session, "tls", &[5; 16]);
        aes(&session, "", &[6; 16]);
        plant(&session, "kube.v7", &[7; 16], KeyType::AES, 16);
        plant(&session, "kube.v8", &[8; 16], KeyType::GENERIC_SECRET, 32);
        aes(&session, "kube.v9", &[9; 4]);
        aes(&session, "kube.v10@2026", &[10; 16]);
        let found = finder().all(&session).unwrap();
        assert_eq!(numbers(&found), [1, 2, 3]);
        assert_eq!(found.versions[2].id, id(&[3; 8]));
        assert!(matches!(found.versions[2].state, State::RetiredSince(_)));
        let mut warnings = found.warnings;
        warnings.sort();
        assert_eq!(warnings.len(), 4, "{warnings:?}");
        for (warning, label) in warnings.iter().zip(["kube.v10@2026", "kube.v7", "kube.v8", "kube.v9"]) {
            assert!(warning.starts_with(&format!("`{label}` is left out")), "{warning}");
        }
    });
}

#[test]
fn strangers_are_looked_at_once_and_again_within_60_discoveries_never_all_at_once() {
    alone::run(|token| {
        let session = session();
        let strangers: Vec<ObjectHandle> = (0..120)
            .map(|number| aes(&session, &format!("tls-{number}"), &[number; 16]))
            .collect();
        let finder = finder();
        assert_eq!(reads(token, &finder, &session), 120);
        aes(&session, "tls-new", &[200; 16]);
        assert_eq!(reads(token, &finder, &session), 1 + 2);
        for discovery in 3..200 {
            let reads = reads(token, &finder, &session);
            assert!((2..=3).contains(&reads), "{reads} in discovery {discovery}");
        }
        // A human gives another application's object a label of the root key.
        rename(&session, strangers[3], "kube.v1");
        let seen = (0..60).find(|_| !finder.all(&session).unwrap().versions.is_empty());
        assert!(seen.is_some());
        assert_eq!(numbers(&finder.all(&session).unwrap()), [1]);
    });
}

#[test]
fn a_discovery_in_time_slices_is_one_discovery_and_ends() {
    alone::run(|_| {
        let session = session();
        let calls = Calls::load(&token_shim::path()).unwrap();
        for number in 0..20 {
            aes(&session, &format!("tls-{number}"), &[number; 16]);
        }
        aes(&session, "kube.v1", &[1; 16]);
        let finder = finder();
        let mut time_slices = Vec::new();
        let found = loop {
            // Another discovery in between, and neither affects the other.
            finder.find(&calls, &session, 2, &|| false).unwrap();
            match finder.find(&calls, &session, 1, &|| false).unwrap() {
                Discovery::Underway { left } => time_slices.push(left),
                Discovery::Found(found) => break found,
            }
        };
        assert_eq!(numbers(&found), [1]);
        assert!(
            !time_slices.is_empty() && time_slices.is_sorted_by(|one, next| one > next),
            "{time_slices:?}"
        );
    });
}

#[test]
fn our_labels_are_read_again_each_time() {
    alone::run(|_| {
        let session = session();
        let one = aes(&session, "kube.v1", &[1; 16]);
        let two = aes(&session, "kube.v2@2026", &[2; 16]);
        let finder = finder();
        assert_eq!(numbers(&finder.all(&session).unwrap()), [1]);
        rename(&session, one, "kube.v1@20260301T1200Z");
        // Also those with a mistake, which a human may correct.
        rename(&session, two, "kube.v2");
        let found = finder.all(&session).unwrap();
        assert_eq!(numbers(&found), [1, 2]);
        assert!(matches!(found.versions[0].state, State::ActiveFrom(_)) && found.warnings.is_empty());
        rename(&session, one, "tls");
        session.destroy_object(two).unwrap();
        assert!(finder.all(&session).unwrap().versions.is_empty());
    });
}

#[test]
fn two_objects_with_one_id_are_no_version() {
    alone::run(|_| {
        let session = session();
        aes(&session, "kube.v1", &[1; 16]);
        aes(&session, "kube.v2", &[1; 16]);
        aes(&session, "kube.v3", &[3; 16]);
        // Another application's object with an id of the root key does not count.
        aes(&session, "tls", &[3; 16]);
        let finder = finder();
        let found = finder.all(&session).unwrap();
        assert_eq!((numbers(&found), found.warnings.len()), (vec![3], 1));
        let error = finder.key_at_once(&session, &id(&[1; 16])).unwrap_err();
        assert!(matches!(error, TokenError::Refused(_)), "{error}");
        assert!(finder.key_at_once(&session, &id(&[3; 16])).is_ok());
    });
}

#[test]
fn a_key_is_looked_for_once_and_only_among_ours() {
    alone::run(|token| {
        let session = session();
        let object = aes(&session, "kube.v1", &[1; 16]);
        aes(&session, "tls", &[2; 16]);
        plant(&session, "kube.v3", &[3; 16], KeyType::AES, 16);
        let finder = finder();
        assert_eq!(finder.key_at_once(&session, &id(&[1; 16])).unwrap().wraps, object);
        token.forget_calls();
        finder.key_at_once(&session, &id(&[1; 16])).unwrap();
        assert!(token.record().is_empty());
        for missing in [[2; 16], [9; 16]] {
            let error = finder.key_at_once(&session, &id(&missing)).unwrap_err();
            assert!(matches!(error, TokenError::NotFound(_)), "{error}");
        }
        let error = finder.key_at_once(&session, &id(&[3; 16])).unwrap_err();
        assert!(error.to_string().contains("128 bits"), "{error}");
    });
}

#[test]
fn a_key_that_has_gone_is_forgotten_with_the_next_discovery() {
    alone::run(|_| {
        let session = session();
        let object = aes(&session, "kube.v1", &[1; 16]);
        let finder = finder();
        finder.key_at_once(&session, &id(&[1; 16])).unwrap();
        session.destroy_object(object).unwrap();
        finder.all(&session).unwrap();
        assert!(finder.key_at_once(&session, &id(&[1; 16])).is_err());
        let again = aes(&session, "kube.v1", &[1; 16]);
        assert_eq!(finder.key_at_once(&session, &id(&[1; 16])).unwrap().wraps, again);
        finder.forget_key(&id(&[1; 16]));
        assert_eq!(finder.key_at_once(&session, &id(&[1; 16])).unwrap().wraps, again);
    });
}

#[test]
fn a_list_replaces_labels_and_only_listed_objects_count() {
    alone::run(|_| {
        let session = session();
        aes(&session, "kube.v1", &[1; 16]);
        aes(&session, "kube.v2", &[2; 16]);
        aes(&session, "made in the ceremony of March", &[3; 16]);
        let listed = |object, number: u16| ListedVersion {
            object,
            number: Number::try_from(number).unwrap(),
            activates: Some(Timestamp::from_unix(60)),
            retired: None,
        };
        let finder = Finder::new(
            "kube".parse().unwrap(),
            vec![
                listed(ObjectName::Id(id(&[2; 16])), 7),
                listed(ObjectName::Label("made in the ceremony of March".into()), 8),
                listed(ObjectName::Id(id(&[9; 16])), 9),
            ],
        );
        let found = finder.all(&session).unwrap();
        assert_eq!(numbers(&found), [7, 8]);
        assert!(
            matches!(found.warnings.as_slice(), [warning] if warning.starts_with("v9 ")),
            "{:?}",
            found.warnings
        );
        assert!(finder.key_at_once(&session, &id(&[2; 16])).is_ok());
        assert!(finder.key_at_once(&session, &id(&[3; 16])).is_ok());
        assert!(finder.key_at_once(&session, &id(&[1; 16])).is_err());
    });
}

fn rsa(session: &Session, label: &str, id: &[u8], bits: u64) -> (ObjectHandle, ObjectHandle) {
    let named = [
        Attribute::Token(true),
        Attribute::Label(label.into()),
        Attribute::Id(id.into()),
    ];
    let mut public = named.to_vec();
    public.push(Attribute::ModulusBits(bits.into()));
    let mechanism = cryptoki::mechanism::Mechanism::RsaPkcsKeyPairGen;
    session.generate_key_pair(&mechanism, &public, &named).unwrap()
}

#[test]
fn an_rsa_key_without_its_own_public_key_only_unwraps_and_one_that_is_too_short_is_refused() {
    alone::run(|_| {
        let session = session();
        let finder = finder();
        let (public, own) = rsa(&session, "kube.v1", &[1; 16], 2048);
        session.destroy_object(public).unwrap();
        let key = finder.key_at_once(&session, &id(&[1; 16])).unwrap();
        assert!(key.only_unwraps() && key.unwraps == own);
        let (other, private) = rsa(&session, "tls", &[2; 16], 2048);
        session.destroy_object(private).unwrap();
        session.update_attributes(other, &[Attribute::Id(vec![1; 16])]).unwrap();
        // It is searched again in each discovery.
        finder.all(&session).unwrap();
        let key = finder.key_at_once(&session, &id(&[1; 16])).unwrap();
        assert!(key.only_unwraps() && key.unwraps == own);
        rsa(&session, "kube.v3", &[3; 16], 1024);
        let error = finder.key_at_once(&session, &id(&[3; 16])).unwrap_err();
        assert!(matches!(error, TokenError::Refused(_)), "{error}");
        assert!(error.to_string().contains("has 1024 bits"), "{error}");
        let (public, private) = rsa(&session, "kube.v4", &[4; 16], 2048);
        let key = finder.key_at_once(&session, &id(&[4; 16])).unwrap();
        assert_eq!((key.wraps, key.unwraps), (public, private));
        assert!(!key.only_unwraps());
    });
}

#[test]
fn trouble_of_the_token_is_an_error_and_never_an_empty_list() {
    alone::run(|token| {
        let session = session();
        aes(&session, "kube.v1", &[1; 16]);
        for control in [
            "C_FindObjectsInit fail 0x30",
            "C_FindObjects fail 0x30",
            "C_GetAttributeValue fail 0x30",
            "C_GetAttributeValue fail 0x82",
            "C_GetAttributeValue fail 0xb3",
        ] {
            token.set(control);
            let error = finder().all(&session).unwrap_err();
            assert!(error.value().is_some(), "{control}: {error}");
            token.set("");
            // The search that was begun has ended.
            assert_eq!(numbers(&finder().all(&session).unwrap()), [1], "{control}");
        }
    });
}

#[test]
fn odd_attributes_are_no_obstacle() {
    alone::run(|token| {
        let session = session();
        aes(&session, "kube.v1", &[1; 16]);
        token.set("hide-attribute CKA_VALUE_LEN\nhide-attribute CKA_KEY_TYPE");
        assert_eq!(numbers(&finder().all(&session).unwrap()), [1]);
        token.set("hide-attribute CKA_LABEL");
        assert!(finder().all(&session).unwrap().versions.is_empty());
        token.set("hide-attribute CKA_ID");
        let found = finder().all(&session).unwrap();
        assert!(found.versions.is_empty() && found.warnings.len() == 1, "{found:?}");
    });
}
