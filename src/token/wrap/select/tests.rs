//! The choice of the wrap method with tokens of every kind, including tokens that violate the standard or fail.

use std::rc::Rc;

use super::*;
use crate::root_key::Wrapped;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::token::return_value::ReturnValue;
use crate::token::wrap::fake::Fake;
use crate::token::wrap::fake::Gcm;
use crate::token::wrap::fake::Quirks;
use crate::token::wrap::gcm::IvLength;
use crate::token::wrap::unwrap_with;

const RSA: KeyKind = KeyKind::Rsa { bits: 2048 };

fn choose_on(token: &Rc<Fake>, kind: KeyKind, choice: MechanismChoice) -> Result<Chosen, TokenError> {
    let mut open = || Ok(token.open());
    choose_with(&mut open, kind, &KeyId::random().unwrap(), choice)
}

fn chosen_by(quirks: Quirks) -> Result<Chosen, TokenError> {
    let kind = quirks.kind;
    choose_on(&Fake::new(quirks), kind, MechanismChoice::Auto)
}

fn with_gcm(gcm: Gcm) -> Quirks {
    Quirks { gcm, ..Fake::aes() }
}

fn verdict(chosen: &Chosen, mechanism: &str) -> TrialResult {
    let mut reports = chosen.reports.iter();
    reports
        .find(|report| report.mechanism == mechanism)
        .unwrap()
        .verdict
        .clone()
}

#[test]
fn every_makers_way_with_ivs_is_found() {
    use IvLength::Sixteen;
    use IvLength::Twelve;
    let replaced = |length| IvMode::Replaced { given: Twelve, length };
    for (gcm, expected) in [
        (Gcm::Caller, IvMode::Caller),
        (Gcm::CallerOrZeros, IvMode::Caller),
        (Gcm::Buffer, IvMode::Buffer),
        (Gcm::Appended(16), IvMode::Appended { length: Sixteen }),
        (Gcm::Appended(12), IvMode::Appended { length: Twelve }),
        (Gcm::Replaced(12), replaced(Twelve)),
        (Gcm::Replaced(16), replaced(Sixteen)),
        (Gcm::Messages, IvMode::Message { by_token: true }),
        (Gcm::CallerMessages, IvMode::Message { by_token: false }),
    ] {
        let chosen = chosen_by(with_gcm(gcm)).unwrap();
        assert_eq!(chosen.method, WrapMethod::AesGcm(expected), "{gcm:?}");
    }
}

#[test]
fn what_every_way_wraps_opens_with_the_iv_in_front_whatever_is_chosen_now() {
    for gcm in [
        Gcm::Caller,
        Gcm::Buffer,
        Gcm::Appended(16),
        Gcm::Replaced(12),
        Gcm::Messages,
    ] {
        let token = Fake::new(with_gcm(gcm));
        let method = choose_on(&token, KeyKind::Aes256, MechanismChoice::Auto)
            .unwrap()
            .method;
        let (id, data_key) = (KeyId::random().unwrap(), Key::random().unwrap());
        let wrapped = method.wrap_with(&*token.open(), &id, &data_key).unwrap();
        assert!(
            unwrap_with(&*token.open(), &id, &wrapped).unwrap().same_as(&data_key),
            "{gcm:?}"
        );
    }
}

#[test]
fn a_constant_iv_is_never_chosen() {
    let chosen = chosen_by(with_gcm(Gcm::Zeros)).unwrap();
    assert_eq!(chosen.method, WrapMethod::AesCbc);
    assert!(matches!(verdict(&chosen, "aes-gcm"), TrialResult::Wrong(_)));
}

#[test]
fn ivs_from_a_counter_that_begins_anew_in_each_session_are_never_chosen() {
    let chosen = chosen_by(with_gcm(Gcm::BufferCounted)).unwrap();
    assert_eq!(chosen.method, WrapMethod::AesCbc);
    assert!(matches!(verdict(&chosen, "aes-gcm"), TrialResult::Wrong(_)));
}

#[test]
fn an_iv_that_nobody_is_told_is_never_chosen() {
    assert_eq!(
        chosen_by(with_gcm(Gcm::BufferUntold)).unwrap().method,
        WrapMethod::AesCbc
    );
}

#[test]
fn a_token_that_opens_forgeries_is_not_used_so() {
    for gcm in [Gcm::AnyTag, Gcm::NoAssociatedData] {
        let chosen = chosen_by(with_gcm(gcm)).unwrap();
        assert_eq!(chosen.method, WrapMethod::AesCbc, "{gcm:?}");
        assert!(matches!(verdict(&chosen, "aes-gcm"), TrialResult::Wrong(_)), "{gcm:?}");
    }
}

#[test]
fn cbc_that_encrypts_nothing_or_forgets_its_iv_is_not_used() {
    let bare = with_gcm(Gcm::None);
    for quirks in [
        Quirks {
            naked: true,
            ..bare.clone()
        },
        Quirks {
            cbc_without_iv: true,
            ..bare
        },
    ] {
        let error = chosen_by(quirks).unwrap_err();
        assert!(matches!(error, TokenError::Refused(_)), "{error}");
    }
}

#[test]
fn key_wrap_comes_before_cbc() {
    let chosen = chosen_by(Quirks {
        kwp: true,
        ..with_gcm(Gcm::None)
    });
    let chosen = chosen.unwrap();
    assert_eq!(chosen.method, WrapMethod::AesKwp);
    assert!(matches!(verdict(&chosen, "aes-gcm"), TrialResult::Absent(_)));
    assert!(matches!(verdict(&chosen, "aes-cbc"), TrialResult::Untried(_)));
    assert!(matches!(verdict(&chosen, "rsa-oaep-sha1"), TrialResult::Untried(_)));
}

#[test]
fn an_rsa_key_wraps_by_the_best_hash_that_the_token_has() {
    let rsa = Quirks {
        kind: RSA,
        ..Fake::aes()
    };
    for (oaep_sha256, oaep_fills_room, expected) in [
        (true, false, WrapMethod::RsaOaepSha256),
        (true, true, WrapMethod::RsaOaepSha256),
        (false, false, WrapMethod::RsaOaepSha1),
    ] {
        let chosen = chosen_by(Quirks {
            oaep_sha256,
            oaep_fills_room,
            ..rsa.clone()
        });
        assert_eq!(chosen.unwrap().method, expected);
    }
}

#[test]
fn a_hiccup_at_any_moment_changes_no_choice() {
    for gcm in [Gcm::Caller, Gcm::Buffer, Gcm::Messages] {
        let steady = Fake::new(with_gcm(gcm));
        let expected = choose_on(&steady, KeyKind::Aes256, MechanismChoice::Auto).unwrap();
        for number in 0..steady.operations() {
            for value in [ReturnValue::GENERAL_ERROR, ReturnValue::SESSION_HANDLE_INVALID] {
                let token = Quirks {
                    hiccup: Some((number..number + 1, value)),
                    ..with_gcm(gcm)
                };
                let chosen = chosen_by(token).unwrap();
                assert_eq!(
                    chosen.method.choice(),
                    expected.method.choice(),
                    "{gcm:?}, operation {number}"
                );
            }
        }
    }
}

#[test]
fn a_token_that_dies_at_any_moment_is_an_error_with_a_remedy_and_no_worse_choice() {
    let steady = Fake::new(Fake::aes());
    let expected = choose_on(&steady, KeyKind::Aes256, MechanismChoice::Auto).unwrap();
    for number in 0..steady.operations() {
        let dying = Quirks {
            hiccup: Some((number..usize::MAX, ReturnValue::DEVICE_ERROR)),
            ..Fake::aes()
        };
        match chosen_by(dying) {
            Ok(chosen) => assert_eq!(chosen.method, expected.method),
            Err(error) => assert_eq!(error.remedy(), Remedy::Module, "operation {number}: {error}"),
        }
    }
}

#[test]
fn a_session_that_does_not_open_is_the_error() {
    let mut open = || Err::<Box<dyn TokenCipher>, _>(TokenError::call("C_OpenSession", ReturnValue::DEVICE_REMOVED));
    let error = choose_with(
        &mut open,
        KeyKind::Aes256,
        &KeyId::random().unwrap(),
        MechanismChoice::Auto,
    )
    .unwrap_err();
    assert_eq!(error.value(), Some(ReturnValue::DEVICE_REMOVED));
}

#[test]
fn a_demanded_mechanism_is_used_or_refused_with_what_auto_would_use() {
    let token = || Fake::new(Fake::aes());
    let demand = |choice| choose_on(&token(), KeyKind::Aes256, choice);
    let chosen = demand(MechanismChoice::AesCbc).unwrap();
    assert_eq!(chosen.method, WrapMethod::AesCbc);
    assert!(matches!(verdict(&chosen, "aes-gcm"), TrialResult::Untried(_)));
    assert_eq!(chosen.reports.iter().filter(|report| report.chosen).count(), 1);

    for (choice, why) in [
        (MechanismChoice::AesKwp, "CKR_MECHANISM_INVALID"),
        (MechanismChoice::RsaOaepSha1, "the root key is an AES key"),
    ] {
        let error = demand(choice).unwrap_err();
        let message = error.to_string();
        assert!(matches!(error, TokenError::Refused(_)), "{message}");
        assert!(message.contains(why), "{message}");
        assert!(message.ends_with("`mechanism: auto` would use aes-gcm"), "{message}");
    }
}

#[test]
fn a_probe_tries_what_stands_behind_the_choice_too() {
    let token = Fake::new(Fake::aes());
    let id = KeyId::random().unwrap();
    let reports = try_all_with(&mut || Ok(token.open()), KeyKind::Aes256, &id, MechanismChoice::Auto).unwrap();
    let good = |name: &str| {
        let report = reports.iter().find(|report| report.mechanism == name).unwrap();
        (matches!(report.verdict, TrialResult::Good { .. }), report.chosen)
    };
    assert_eq!(good("aes-gcm"), (true, true));
    assert_eq!(good("aes-kwp"), (false, false));
    assert_eq!(good("aes-cbc"), (true, false));
    assert_eq!(good("rsa-oaep-sha256"), (false, false));
}

#[test]
fn a_wrapped_key_that_cannot_be_this_keys_is_bad_input_and_never_reaches_the_token() {
    let token = Fake::new(Fake::aes());
    let id = KeyId::random().unwrap();
    for (mechanism, length) in [
        (Mechanism::RsaOaepSha256, 256),
        (Mechanism::AesGcm, 61),
        (Mechanism::AesGcmTokenIv, 60),
        (Mechanism::AesKwp, 0),
        (Mechanism::AesCbc, 1_000_000),
    ] {
        let bytes = vec![1; length];
        let error = unwrap_with(&*token.open(), &id, &Wrapped { mechanism, bytes }).unwrap_err();
        assert!(error.value().unwrap().may_mean_bad_ciphertext(), "{mechanism}");
    }
    assert_eq!(token.operations(), 0);
}
