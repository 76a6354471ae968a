//! Tests of the trial and the wrap methods with SoftHSM, unchanged and behind the test module that imitates other
//! tokens.

use cryptoki::mechanism::Mechanism as CryptokiMechanism;
use cryptoki::object::Attribute;
use cryptoki::session::UserType;
use cryptoki::slot::Slot;
use cryptoki::types::AuthPin;
use token_shim::alone;
use token_shim::token::PIN;
use token_shim::token::Token;

use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::token::error::TokenError;
use crate::token::key_object::KeyKind;
use crate::token::key_object::KeyObject;
use crate::token::module::Module;
use crate::token::options::MechanismChoice;
use crate::token::report::PinState;
use crate::token::report::TrialResult;
use crate::token::return_value::Remedy;
use crate::token::wrap::IvMode;
use crate::token::wrap::WrapMethod;
use crate::token::wrap::gcm::IvLength;
use crate::token::wrap::listed;
use crate::token::wrap::select;
use crate::token::wrap::select::Chosen;
use crate::token::wrap::unwrap;

/// A module with a session that stays logged in, and a key.
struct Ready {
    module: Module,
    slot: Slot,
    login: cryptoki::session::Session,
    key: KeyObject,
    id: KeyId,
}

impl Ready {
    fn new(token: &Token, control: &str, kind: KeyKind) -> Self {
        token.set(control);
        let module = Module::load(&token_shim::path()).unwrap();
        let is_kube = |slot: &Slot| module.token_info(*slot).unwrap().label == "kube";
        let slot = module.slots().unwrap().into_iter().find(is_kube).unwrap();
        let login = module.open(slot, true).unwrap();
        login.login(UserType::User, Some(&AuthPin::new(PIN.into()))).unwrap();
        let usable = [Attribute::Encrypt(true), Attribute::Decrypt(true)];
        let (wraps, unwraps) = match kind {
            KeyKind::Aes256 => {
                let template = [usable.as_slice(), &[Attribute::ValueLen(32.into())]].concat();
                let key = login.generate_key(&CryptokiMechanism::AesKeyGen, &template).unwrap();
                (key, key)
            }
            KeyKind::Rsa { bits } => {
                let public = [
                    Attribute::Encrypt(true),
                    Attribute::ModulusBits(u64::from(bits).into()),
                    Attribute::PublicExponent(vec![1, 0, 1]),
                ];
                let pair = CryptokiMechanism::RsaPkcsKeyPairGen;
                login
                    .generate_key_pair(&pair, &public, &[Attribute::Decrypt(true)])
                    .unwrap()
            }
        };
        Self {
            module,
            slot,
            login,
            key: KeyObject { kind, wraps, unwraps },
            id: KeyId::random().unwrap(),
        }
    }

    fn choose(&self, choice: MechanismChoice) -> Result<Chosen, TokenError> {
        let mut open = || self.module.open(self.slot, true);
        select::choose(&self.module, &mut open, &self.key, &self.id, choice)
    }

    fn unwrap(&self, wrapped: &Wrapped) -> Result<Key, TokenError> {
        let session = self.module.open(self.slot, true)?;
        unwrap(&self.module, &session, &self.key, &self.id, wrapped)
    }

    /// Wraps and unwraps, and checks that changed wraps fail to unwrap.
    fn round_trip(&self, method: WrapMethod) -> Wrapped {
        let session = self.module.open(self.slot, true).unwrap();
        let data_key = Key::random().unwrap();
        let wrapped = method
            .wrap(&self.module, &session, &self.key, &self.id, &data_key)
            .unwrap();
        assert!(self.unwrap(&wrapped).unwrap().same_as(&data_key));
        let mut changed = wrapped.clone();
        *changed.bytes.last_mut().unwrap() ^= 1;
        match self.unwrap(&changed) {
            Ok(other) => assert!(!other.same_as(&data_key)),
            Err(error) => assert!(error.value().unwrap().may_mean_bad_ciphertext(), "{error}"),
        }
        wrapped
    }
}

/// The method that is chosen with a token of these switches works.
fn chooses(token: &Token, control: &str, expected: WrapMethod) -> Wrapped {
    let ready = Ready::new(token, control, KeyKind::Aes256);
    let chosen = ready.choose(MechanismChoice::Auto).unwrap();
    assert_eq!(chosen.method, expected, "{control}: {:#?}", chosen.reports);
    let wrapped = ready.round_trip(chosen.method);
    drop(ready.login);
    ready.module.finalize().unwrap();
    wrapped
}

#[test]
fn softhsm_wraps_with_our_iv_and_its_null_iv_is_never_used() {
    alone::run(|token| {
        let wrapped = chooses(token, "", WrapMethod::AesGcm(IvMode::Caller));
        assert_eq!(wrapped.mechanism, Mechanism::AesGcm);
    });
}

#[test]
fn a_luna_in_fips_mode_makes_its_ivs_of_16_bytes() {
    alone::run(|token| {
        let length = IvLength::Sixteen;
        let wrapped = chooses(token, "like luna", WrapMethod::AesGcm(IvMode::Appended { length }));
        assert_eq!((wrapped.mechanism, wrapped.bytes.len()), (Mechanism::AesGcmTokenIv, 64));
    });
}

#[test]
fn a_cloudhsm_writes_its_iv_over_zeros() {
    alone::run(|token| {
        chooses(token, "like cloudhsm", WrapMethod::AesGcm(IvMode::Buffer));
    });
}

#[test]
fn a_protectserver_replaces_the_iv() {
    alone::run(|token| {
        let (given, length) = (IvLength::Twelve, IvLength::Twelve);
        chooses(
            token,
            "like protectserver",
            WrapMethod::AesGcm(IvMode::Replaced { given, length }),
        );
    });
}

#[test]
fn a_token_with_messages_alone_encrypts_messages() {
    alone::run(|token| {
        chooses(token, "like v3", WrapMethod::AesGcm(IvMode::Message { by_token: true }));
    });
}

#[test]
fn without_gcm_comes_key_wrap_and_without_that_cbc() {
    alone::run(|token| {
        assert_eq!(chooses(token, "kwp\nno gcm", WrapMethod::AesKwp).bytes.len(), 40);
        assert_eq!(chooses(token, "no gcm", WrapMethod::AesCbc).bytes.len(), 48);
    });
}

#[test]
fn a_token_that_lies_about_ivs_or_tags_is_not_believed() {
    alone::run(|token| {
        for like in [
            "",
            "like luna\n",
            "like luna12\n",
            "like cloudhsm\n",
            "like protectserver\n",
        ] {
            chooses(token, &format!("{like}constant-iv"), WrapMethod::AesCbc);
        }
        chooses(token, "kwp\nno-tamper-detection", WrapMethod::AesCbc);
    });
}

#[test]
fn one_failure_that_passes_changes_nothing() {
    alone::run(|token| {
        for function in ["C_EncryptInit", "C_Encrypt", "C_DecryptInit", "C_Decrypt"] {
            for value in ["0x30", "0x5", "0xB3"] {
                let control = format!("{function} fail {value} times 1");
                chooses(token, &control, WrapMethod::AesGcm(IvMode::Caller));
            }
        }
    });
}

#[test]
fn a_token_that_fails_altogether_is_an_outage_and_no_refusal() {
    alone::run(|token| {
        let ready = Ready::new(token, "", KeyKind::Aes256);
        token.set("C_EncryptInit fail 0x30");
        let error = ready.choose(MechanismChoice::Auto).unwrap_err();
        assert_eq!(error.remedy(), Remedy::Module);
        token.set("sessions lost");
        // A new session would suffice, but the key was lost with the old one.
        assert_ne!(
            ready.choose(MechanismChoice::Auto).unwrap_err().remedy(),
            Remedy::Nothing
        );
    });
}

#[test]
fn an_answer_too_long_or_too_short_is_noticed() {
    alone::run(|token| {
        let ready = Ready::new(token, "", KeyKind::Aes256);
        let session = ready.module.open(ready.slot, true).unwrap();
        for change in ["longer", "shorter"] {
            token.set(&format!("C_Encrypt {change}"));
            for method in [WrapMethod::AesGcm(IvMode::Caller), WrapMethod::AesCbc] {
                let data_key = Key::random().unwrap();
                let error = method.wrap(&ready.module, &session, &ready.key, &ready.id, &data_key);
                let error = error.unwrap_err();
                assert!(
                    matches!(error, TokenError::Misbehaved(_)),
                    "{change} {method:?}: {error}"
                );
            }
        }
    });
}

#[test]
fn an_rsa_key_wraps_with_sha_1_where_sha_256_is_missing() {
    alone::run(|token| {
        let ready = Ready::new(token, "", KeyKind::Rsa { bits: 2048 });
        let chosen = ready.choose(MechanismChoice::Auto).unwrap();
        assert_eq!(chosen.method, WrapMethod::RsaOaepSha1, "{:#?}", chosen.reports);
        assert_eq!(ready.round_trip(chosen.method).bytes.len(), 256);
        let error = ready.choose(MechanismChoice::RsaOaepSha256).unwrap_err().to_string();
        assert!(error.contains("`mechanism: auto` would use rsa-oaep-sha1"), "{error}");
    });
}

#[test]
fn old_payloads_open_after_the_token_has_learnt_something_better() {
    alone::run(|token| {
        let ready = Ready::new(token, "no gcm", KeyKind::Aes256);
        let chosen = ready.choose(MechanismChoice::Auto).unwrap();
        let old = ready.round_trip(chosen.method);
        token.set("kwp");
        let now = ready.choose(MechanismChoice::Auto).unwrap().method;
        assert_eq!(now, WrapMethod::AesGcm(IvMode::Caller));
        let older = ready.round_trip(WrapMethod::AesKwp);
        assert!(ready.unwrap(&old).is_ok() && ready.unwrap(&older).is_ok());
    });
}

#[test]
fn one_encryption_is_one_call() {
    alone::run(|token| {
        let ready = Ready::new(token, "", KeyKind::Aes256);
        token.forget_calls();
        ready.round_trip(WrapMethod::AesGcm(IvMode::Caller));
        assert_eq!(token.calls("C_Encrypt"), 1);
        assert_eq!(token.calls("C_Decrypt"), 2);
    });
}

#[test]
fn a_probe_shows_what_every_mechanism_does() {
    alone::run(|token| {
        let ready = Ready::new(token, "kwp", KeyKind::Aes256);
        let mut open = || ready.module.open(ready.slot, true);
        let reports = select::try_all(&ready.module, &mut open, &ready.key, &ready.id, MechanismChoice::Auto);
        let reports = reports.unwrap();
        let good = reports
            .iter()
            .filter(|report| matches!(report.verdict, TrialResult::Good { .. }));
        let good: Vec<_> = good.map(|report| report.mechanism.as_str()).collect();
        assert_eq!(good, ["aes-gcm", "aes-kwp", "aes-cbc"]);
        assert_eq!(reports.len(), 5);
    });
}

#[test]
fn a_token_with_an_odd_clock_describes_itself() {
    alone::run(|token| {
        let ready = Ready::new(token, "odd-clock\nserial", KeyKind::Aes256);
        let info = ready.module.token_info(ready.slot).unwrap();
        assert_eq!((info.label.as_str(), info.serial.as_str()), ("kube", ""));
        assert!(info.initialized && info.login_required && !info.protected_path);
        assert_eq!(info.pin(), PinState::Good);
        assert!(ready.module.slot_description(ready.slot).unwrap().contains("SoftHSM"));
        let mechanisms = listed(&ready.module.mechanisms(ready.slot).unwrap());
        assert_eq!(mechanisms, ["aes-gcm", "aes-cbc", "rsa-oaep-sha256", "rsa-oaep-sha1"]);
    });
}
