//! The promises about making, labelling and destroying keys, with SoftHSM.

use cryptoki::mechanism::Mechanism;
use cryptoki::object::AttributeType;
use token_shim::alone;
use token_shim::token::Token;

use super::*;
use crate::clock::Timestamp;
use crate::token::key_object::KeyKind;
use crate::token::objects::Admission;
use crate::token::objects::Finder;
use crate::token::options::ListedVersion;
use crate::token::options::MechanismChoice;
use crate::token::options::ObjectName;
use crate::token::test_token::options;
use crate::token::test_token::session;

fn name() -> RootKeyName {
    "kube".parse().unwrap()
}

fn at(text: &str) -> State {
    State::ActiveFrom(text.parse().unwrap())
}

fn make(session: &Session, options: &Pkcs11Options) -> Result<Version, TokenError> {
    generate(session, options, &name(), Number::FIRST, State::Pending)
}

/// All objects count, whatever a test has made.
fn finder() -> Finder {
    let finder = Finder::new(name(), Vec::new());
    finder.admit(Admission::All);
    finder
}

fn found(session: &Session) -> Vec<Version> {
    let found = finder().all(session).unwrap();
    assert_eq!(found.warnings, Vec::<String>::new());
    found.versions
}

fn change(session: &Session, key: &KeyObject, state: State) -> Result<(), TokenError> {
    relabel(session, &options(), key, &name(), Number::FIRST, state)
}

/// No object is left, neither in the token nor in the session.
fn assert_empty(session: &Session) {
    assert_eq!(session.find_objects(&[]).unwrap(), []);
}

fn refusal(token: &Token, session: &Session, control: &str) -> String {
    token.set(control);
    let error = make(session, &options()).unwrap_err();
    token.set("");
    assert!(matches!(error, TokenError::Refused(_)), "{error}");
    assert_empty(session);
    error.to_string()
}

#[test]
fn a_generated_key_is_found_works_and_has_no_weakness() {
    alone::run(|_| {
        let session = session();
        let version = generate(&session, &options(), &name(), Number::FIRST, at("2026-03-01T12:00:00Z")).unwrap();
        assert_eq!(found(&session), std::slice::from_ref(&version));
        let key = finder().key_at_once(&session, &version.id).unwrap();
        assert_eq!(key.kind, KeyKind::Aes256);
        let sealed = session.encrypt(&Mechanism::AesEcb, key.wraps, &[5; 32]).unwrap();
        assert_eq!(
            session.decrypt(&Mechanism::AesEcb, key.unwraps, &sealed).unwrap(),
            [5; 32]
        );
        let report = report::attributes(&session, &key, false).unwrap();
        assert_eq!(
            (report.key.as_str(), report.label.as_str()),
            ("AES-256", "kube.v1@20260301T1200Z")
        );
        assert_eq!(report.warnings, Vec::<String>::new());
        assert!(report.attributes.iter().all(|(_, value)| value.is_some()), "{report:?}");
    });
}

#[test]
fn a_moment_to_come_is_never_earlier_than_asked() {
    alone::run(|_| {
        let session = session();
        let moment = Timestamp::from_unix(Clock::system().now().unix() / 60 * 60 + 601);
        let version = generate(&session, &options(), &name(), Number::FIRST, State::ActiveFrom(moment)).unwrap();
        assert_eq!(version.state.moment().unwrap().unix(), moment.unix() + 59);
        assert_eq!(found(&session), [version]);
    });
}

#[test]
fn an_imported_key_is_the_very_key_and_its_origin_is_a_warning() {
    alone::run(|_| {
        let session = session();
        let bytes = Key::random().unwrap();
        let version = import(&session, &options(), &name(), Number::FIRST, State::Pending, &bytes).unwrap();
        assert_eq!(found(&session), std::slice::from_ref(&version));
        let key = finder().key_at_once(&session, &version.id).unwrap();
        let sealed = session.encrypt(&Mechanism::AesEcb, key.wraps, &[0; 16]).unwrap();
        let mut expected = aes::Block::default();
        let cipher = <aes::Aes256 as aes::cipher::KeyInit>::new(bytes.expose().into());
        aes::cipher::BlockCipherEncrypt::encrypt_block(&cipher, &mut expected);
        assert_eq!(sealed, expected.as_slice());
        let report = report::attributes(&session, &key, false).unwrap();
        assert_eq!(report.warnings.len(), 2, "{report:?}");
        assert!(
            report
                .warnings
                .iter()
                .all(|warning| warning.contains("made outside the token"))
        );
        // An imported key is as protected as a generated one.
        assert!(
            session
                .get_attributes(key.wraps, &[AttributeType::Value])
                .unwrap()
                .is_empty()
        );
    });
}

#[test]
fn an_rsa_pair_is_found_by_its_private_half() {
    alone::run(|_| {
        let session = session();
        let mut options = options();
        options.mechanism = MechanismChoice::RsaOaepSha256;
        let version = make(&session, &options).unwrap();
        assert_eq!(found(&session), std::slice::from_ref(&version));
        let key = finder().key_at_once(&session, &version.id).unwrap();
        assert_eq!(key.kind, KeyKind::Rsa { bits: 3072 });
        let sealed = session.encrypt(&Mechanism::RsaPkcs, key.wraps, &[5; 32]).unwrap();
        assert_eq!(
            session.decrypt(&Mechanism::RsaPkcs, key.unwraps, &sealed).unwrap(),
            [5; 32]
        );
        let report = report::attributes(&session, &key, false).unwrap();
        assert_eq!(
            (report.key.as_str(), report.warnings.len()),
            ("RSA-3072", 0),
            "{report:?}"
        );
        change(&session, &key, at("2026-03-01T12:00:00Z")).unwrap();
        assert_eq!(found(&session)[0].state, at("2026-03-01T12:00:00Z"));
        destroy(&session, &key).unwrap();
        assert_empty(&session);
    });
}

#[test]
fn a_label_is_changed_and_a_key_destroyed() {
    alone::run(|token| {
        let session = session();
        let version = make(&session, &options()).unwrap();
        let key = finder().key_at_once(&session, &version.id).unwrap();
        let asked = Timestamp::from_unix(Clock::system().now().unix() / 60 * 60 + 601);
        change(&session, &key, State::ActiveFrom(asked)).unwrap();
        assert_eq!(found(&session)[0].state.moment().unwrap().unix(), asked.unix() + 59);
        change(&session, &key, State::RetiredSince(Timestamp::from_unix(60))).unwrap();
        assert!(matches!(found(&session)[0].state, State::RetiredSince(_)));
        token.set("C_SetAttributeValue fail 0x10");
        let error = change(&session, &key, State::Pending).unwrap_err().to_string();
        assert!(
            error.contains("`versions:`") && error.contains("CKR_ATTRIBUTE_READ_ONLY"),
            "{error}"
        );
        token.set("C_SetAttributeValue fail 0x30");
        let error = change(&session, &key, State::Pending).unwrap_err();
        assert_eq!(error.value(), Some(ReturnValue::DEVICE_ERROR));
        token.set("C_DestroyObject fail 0x1b");
        let error = destroy(&session, &key).unwrap_err().to_string();
        assert!(error.contains("vendor's tool"), "{error}");
        token.set("");
        destroy(&session, &key).unwrap();
        assert_empty(&session);
    });
}

#[test]
fn a_listed_versions_label_is_not_touched() {
    alone::run(|token| {
        let session = session();
        let version = make(&session, &options()).unwrap();
        let key = finder().key_at_once(&session, &version.id).unwrap();
        let mut options = options();
        options.versions = vec![ListedVersion {
            object: ObjectName::Label("kube.v1".to_owned()),
            number: Number::FIRST,
            activates: None,
            retired: None,
        }];
        let error = relabel(&session, &options, &key, &name(), Number::FIRST, State::Pending).unwrap_err();
        assert!(error.to_string().contains("`versions:`"), "{error}");
        assert_eq!(token.calls("C_SetAttributeValue"), 0);
    });
}

#[test]
fn a_key_that_does_not_show_itself_as_private_is_destroyed_again() {
    alone::run(|token| {
        let session = session();
        for control in ["public-template", "hide-attribute CKA_PRIVATE"] {
            let said = refusal(token, &session, control);
            assert!(
                said.contains("CKA_PRIVATE") && said.contains("`private: false`"),
                "{said}"
            );
            token.set(control);
            let key = Key::random().unwrap();
            let imported = import(&session, &options(), &name(), Number::FIRST, State::Pending, &key);
            assert!(imported.is_err(), "{control}");
            token.set("");
            assert_empty(&session);
            token.set(control);
            let mut public = options();
            public.private = false;
            let made = make(&session, &public).unwrap();
            token.set("");
            destroy(&session, &finder().key_at_once(&session, &made.id).unwrap()).unwrap();
        }
    });
}

#[test]
fn a_refused_attribute_is_named_and_no_trial_is_left() {
    alone::run(|token| {
        let session = session();
        for (control, expected) in [
            ("refuse-attribute CKA_PRIVATE=true 0xd1", "`private: false`"),
            ("refuse-attribute CKA_EXTRACTABLE=false 0x13", "`exportable: true`"),
            ("refuse-attribute CKA_SENSITIVE 0x10", "CKA_SENSITIVE = CK_TRUE"),
            ("refuse-attribute CKA_ID 0xd1", "CKA_ID = "),
            (
                "refuse-attribute CKA_PRIVATE=true 0xd1\nrefuse-attribute CKA_EXTRACTABLE=false 0xd1",
                "CKA_PRIVATE = CK_TRUE and CKA_EXTRACTABLE = CK_FALSE",
            ),
            ("refuse-attribute CKA_TOKEN=true 0xd1", "refuses to keep it"),
            ("C_GenerateKey fail 0xd1", "does not name it"),
            ("C_GenerateKey fail 0x54", "`--print`"),
            ("no aes-key-gen", "`--print`"),
            ("C_GenerateKey fail 0xe2", "write-protected"),
            ("C_GenerateKey fail 0x31", "full"),
        ] {
            let message = refusal(token, &session, control);
            assert!(
                message.contains(expected) && message.contains("0x"),
                "{control}: {message}"
            );
        }
    });
}

#[test]
fn what_helps_against_a_refusal_is_what_the_message_says() {
    alone::run(|token| {
        let session = session();
        token.set("refuse-attribute CKA_PRIVATE=true 0xd1\nrefuse-attribute CKA_EXTRACTABLE=false 0xd1");
        let mut options = options();
        options.private = false;
        options.exportable = true;
        let version = make(&session, &options).unwrap();
        assert_eq!(found(&session), [version]);
    });
}

#[test]
fn an_attribute_that_a_token_does_not_know_is_left_out_if_it_says_the_default() {
    alone::run(|token| {
        let session = session();
        token.set("refuse-attribute CKA_DERIVE\nrefuse-attribute CKA_VERIFY");
        let version = make(&session, &options()).unwrap();
        let bytes = Key::random().unwrap();
        import(&session, &options(), &name(), Number::FIRST, State::Pending, &bytes).unwrap();
        let mut rsa = options();
        rsa.mechanism = MechanismChoice::RsaOaepSha1;
        token.set("refuse-attribute CKA_SIGN");
        make(&session, &rsa).unwrap();
        token.set("");
        let versions = found(&session);
        assert_eq!(versions.len(), 3);
        let key = finder().key_at_once(&session, &version.id).unwrap();
        let report = report::attributes(&session, &key, false).unwrap();
        assert!(
            report.attributes.contains(&("WRAP".to_owned(), Some(false))),
            "{report:?}"
        );
    });
}

#[test]
fn a_key_that_may_wrap_or_leave_the_token_is_not_kept() {
    alone::run(|token| {
        let session = session();
        // True by default in SoftHSM.
        let message = refusal(
            token,
            &session,
            "refuse-attribute CKA_WRAP\nrefuse-attribute CKA_UNWRAP",
        );
        assert!(
            message.contains("CKA_WRAP is true") && message.contains("the new key was destroyed"),
            "{message}"
        );
        let message = refusal(token, &session, "weak-template");
        assert!(message.contains("CKA_SENSITIVE is false"), "{message}");
    });
}

#[test]
fn a_key_whose_label_or_id_cannot_be_read_back_is_not_kept() {
    alone::run(|token| {
        let session = session();
        let message = refusal(token, &session, "hide-attribute CKA_LABEL");
        assert!(
            message.contains("label kube.v1") && message.contains("the new key was destroyed"),
            "{message}"
        );
        let message = refusal(token, &session, "hide-attribute CKA_ID");
        assert!(message.contains("CKA_ID"), "{message}");
        token.set("hide-attribute CKA_ID\nC_DestroyObject fail 0x1b");
        let message = make(&session, &options()).unwrap_err().to_string();
        assert!(message.contains("look for the label kube.v1"), "{message}");
    });
}

#[test]
fn a_refused_import_tries_with_another_key_only() {
    alone::run(|token| {
        let session = session();
        token.set("refuse-attribute CKA_EXTRACTABLE=false 0xd1");
        let bytes = Key::random().unwrap();
        let error = import(&session, &options(), &name(), Number::FIRST, State::Pending, &bytes).unwrap_err();
        assert!(error.to_string().contains("`exportable: true`"), "{error}");
        token.set("");
        assert_empty(&session);
        let mut rsa = options();
        rsa.mechanism = MechanismChoice::RsaOaepSha256;
        let error = import(&session, &rsa, &name(), Number::FIRST, State::Pending, &bytes).unwrap_err();
        assert!(error.to_string().contains("rsa-oaep-sha256"), "{error}");
    });
}

#[test]
fn trouble_of_the_token_stays_what_it_is() {
    alone::run(|token| {
        let session = session();
        token.set("C_GenerateKey fail 0x30");
        let error = make(&session, &options()).unwrap_err();
        assert_eq!(error.value(), Some(ReturnValue::DEVICE_ERROR));
        assert_eq!(token.calls("C_GenerateKey"), 1);
    });
}

#[test]
fn a_report_says_none_where_the_token_does_not_say() {
    alone::run(|token| {
        let session = session();
        let version = make(&session, &options()).unwrap();
        let key = finder().key_at_once(&session, &version.id).unwrap();
        token.set("hide-attribute CKA_NEVER_EXTRACTABLE");
        let report = report::attributes(&session, &key, false).unwrap();
        assert!(
            report.attributes.contains(&("NEVER_EXTRACTABLE".to_owned(), None)),
            "{report:?}"
        );
        assert!(
            report.attributes.contains(&("ALWAYS_SENSITIVE".to_owned(), Some(true))),
            "{report:?}"
        );
    });
}
