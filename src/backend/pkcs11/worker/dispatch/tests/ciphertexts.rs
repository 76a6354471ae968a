//! Before any verdict about a ciphertext, a canary distinguishes a bad ciphertext from a bad device.

use std::time::Instant;

use token_shim::alone;

use super::*;
use crate::root_key::mechanism::Mechanism;

/// Return values of tokens for a ciphertext that does not open.
const VALUES: [&str; 5] = ["0x5", "0x6", "0x30", "0x40", "0x110"];

fn kind(result: Result<u8, Failure>) -> Kind {
    let failure = result.unwrap_err();
    assert!(!failure.ends_worker);
    failure.error.kind()
}

#[test]
fn a_bad_ciphertext_is_bad_input_whatever_the_token_calls_it() {
    alone::run(|token| {
        plant(token);
        for value in VALUES {
            token.set(&format!("decrypt-error {value}"));
            let mut worker = Worker::start(token);
            let wrapped = worker.wrap(7).unwrap();
            let logins = token.calls("C_Login");
            assert_eq!(kind(worker.unwrap(&forged(&wrapped, 200))), Kind::BadInput, "{value}");
            assert_eq!(token.calls("C_Finalize"), 0, "{value}");
            assert_eq!(token.calls("C_Login"), logins, "{value}");
            assert_eq!(worker.steps(), [""; 0], "{value}");
            assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
        }
    });
}

#[test]
fn a_bad_ciphertext_is_bad_input_also_before_anything_was_wrapped() {
    alone::run(|token| {
        plant(token);
        let wrapped = Worker::start(token).wrap(7).unwrap();
        let mut worker = Worker::start(token);
        assert_eq!(kind(worker.unwrap(&forged(&wrapped, 0))), Kind::BadInput);
        assert_eq!(token.calls("C_Finalize"), 0);
    });
}

#[test]
fn a_value_that_names_another_mechanism_is_bad_input_if_the_token_does_it_or_the_key_cannot() {
    alone::run(|token| {
        plant(token);
        let good = Worker::start(token).wrap(7).unwrap();
        // The shim makes KWP from SoftHSM's functions; without that line the token has none.
        for (control, mechanism, length, answer) in [
            ("", Mechanism::RsaOaepSha1, 256, Kind::BadInput),
            ("", Mechanism::AesKwp, 40, Kind::Refusal),
            ("kwp", Mechanism::AesKwp, 40, Kind::BadInput),
        ] {
            token.set(control);
            let mut worker = Worker::start(token);
            let bytes = vec![3; length];
            let result = worker.unwrap(&Wrapped { mechanism, bytes });
            assert_eq!(kind(result), answer, "{mechanism} {control}");
            assert_eq!(token.calls("C_Finalize"), 0);
            assert_eq!(worker.unwrap(&good).unwrap(), 7);
        }
    });
}

#[test]
fn a_mechanism_that_the_token_ceases_to_permit_is_a_refusal_and_not_bad_input() {
    alone::run(|token| {
        plant(token);
        let good = Worker::start(token).wrap(7).unwrap();
        assert_eq!(good.mechanism, Mechanism::AesGcm);
        token.set("kwp\nno gcm");
        // A fresh worker that has never unwrapped by AES-GCM, and has a canary of KWP.
        let mut worker = Worker::start(token);
        assert_eq!(worker.wrap(8).unwrap().mechanism, Mechanism::AesKwp);
        token.forget_calls();
        for _ in 0..3 {
            let failure = worker.unwrap(&good).unwrap_err();
            assert_eq!(failure.error.kind(), Kind::Refusal);
            assert!(
                failure.error.chain().contains("by aes-gcm"),
                "{}",
                failure.error.chain()
            );
        }
        assert_eq!(token.calls("C_Finalize"), 0);
        drop(worker);
        // A worker that has.
        token.set("kwp");
        let mut worker = Worker::start(token);
        assert_eq!(worker.unwrap(&good).unwrap(), 7);
        token.set("kwp\nno gcm");
        assert_eq!(kind(worker.unwrap(&good)), Kind::Refusal);
        token.set("kwp");
        assert_eq!(worker.unwrap(&good).unwrap(), 7);
    });
}

#[test]
fn a_mechanism_refused_as_by_a_broken_device_costs_no_worker_and_no_module() {
    alone::run(|token| {
        plant(token);
        let good = Worker::start(token).wrap(7).unwrap();
        // p11-kit's value for a call that it does not pass on, and the values of failing devices.
        for value in ["0x2", "0x6", "0x80000001"] {
            token.set(&format!("kwp\nrefuse kwp {value}"));
            let mut worker = Worker::start(token);
            let (mechanism, bytes) = (Mechanism::AesKwp, vec![3; 40]);
            for _ in 0..2 {
                let result = worker.unwrap(&Wrapped {
                    mechanism,
                    bytes: bytes.clone(),
                });
                assert_eq!(kind(result), Kind::Refusal, "{value}");
            }
            assert_eq!(worker.unwrap(&good).unwrap(), 7);
            assert_eq!(token.calls("C_Finalize"), 0, "{value}");
            drop(worker);
            // The mechanism of old payloads, by which a worker has unwrapped.
            token.set("kwp");
            let mut worker = Worker::start(token);
            assert_eq!(worker.unwrap(&good).unwrap(), 7);
            token.set(&format!("kwp\nrefuse gcm {value}"));
            assert_eq!(worker.wrap(7).unwrap().mechanism, Mechanism::AesKwp);
            token.forget_calls();
            assert_eq!(kind(worker.unwrap(&good)), Kind::Refusal, "{value}");
            assert_eq!(token.calls("C_Finalize"), 0, "{value}");
        }
    });
}

#[test]
fn more_doubts_than_can_be_settled_are_too_much_at_once_and_no_outage() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::start(token);
        let wrapped = worker.wrap(7).unwrap();
        assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
        // All of them are in doubt before the second of the canary has passed.
        kind(worker.unwrap(&forged(&wrapped, 0)));
        let all: Vec<_> = (1..400).map(|at| worker.begin(unwrap(&forged(&wrapped, at)))).collect();
        let kinds: Vec<_> = all
            .into_iter()
            .map(|number| worker.answer(number).unwrap_err().error.kind())
            .collect();
        let busy = kinds.iter().filter(|kind| **kind == Kind::Busy).count();
        let bad = kinds.iter().filter(|kind| **kind == Kind::BadInput).count();
        assert!(busy > 0 && bad >= 256 && busy + bad == kinds.len(), "{busy} {bad}");
        assert_eq!(token.calls("C_Finalize"), 0);
        assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
    });
}

#[test]
fn a_token_in_trouble_at_its_trial_settles_the_mechanism_for_an_hour_only() {
    alone::run(|token| {
        plant(token);
        with_turned_clock(async |clock| {
            token.set("kwp\nrefuse gcm 0x30");
            let worker = Worker::with(token, |_| {}, clock);
            let mechanism = || {
                let (id, data_key) = (v1(), key(7));
                match worker.call_here(Call::Wrap { id, data_key }).unwrap() {
                    Outcome::Wrapped(wrapped) => wrapped.mechanism,
                    other => panic!("{other:?}"),
                }
            };
            assert_eq!(mechanism(), Mechanism::AesKwp);
            token.set("kwp");
            assert_eq!(mechanism(), Mechanism::AesKwp);
            after(3601).await;
            assert_eq!(mechanism(), Mechanism::AesGcm);
        });
    });
}

#[test]
fn a_broken_device_that_answers_the_same_is_an_outage_and_recovers() {
    alone::run(|token| {
        plant(token);
        for value in VALUES {
            let mut worker = Worker::start(token);
            let wrapped = worker.wrap(7).unwrap();
            worker.steps();
            worker.forget_work();
            // The unwrap, then the canary, until the module is initialised again.
            token.set(&format!("C_Decrypt fail {value} times 2"));
            assert_eq!(worker.unwrap(&wrapped).unwrap(), 7, "{value}");
            assert_eq!(worker.steps(), [describe(RecoveryStep::Module)], "{value}");
            token.set("");
        }
    });
}

#[test]
fn a_device_that_stays_broken_is_an_outage_and_no_verdict() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::start(token);
        let wrapped = worker.wrap(7).unwrap();
        token.set("C_Decrypt fail 0x40");
        let canary = Job::new(0, Call::Probe { id: Some(v1()) });
        let JobOutcome::Doubtful { doubt, .. } =
            worker
                .service
                .call_with_recovery(0, &Job::new(1, unwrap(&wrapped)), OnBadCiphertext::Suspect)
        else {
            panic!("no doubt");
        };
        let failure = worker.service.open_canary(0, &canary, &doubt).unwrap_err();
        assert_eq!((failure.error.kind(), failure.ends_worker), (Kind::Outage, true));
    });
}

#[test]
fn a_hiccup_of_the_device_is_no_verdict() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::start(token);
        let wrapped = worker.wrap(7).unwrap();
        token.forget_calls();
        token.set("C_Decrypt fail 0x30 times 1");
        assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
        assert_eq!(token.calls("C_Finalize"), 0);
    });
}

#[test]
fn a_device_that_opens_a_canary_as_another_key_is_corrupt() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::start(token);
        let wrapped = worker.wrap(7).unwrap();
        assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
        token.set("C_Decrypt flip");
        assert_eq!(kind(worker.unwrap(&forged(&wrapped, 200))), Kind::Corruption);
    });
}

#[test]
fn a_storm_of_bad_ciphertexts_costs_a_canary_a_second_and_no_reconnect() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::start(token);
        let wrapped = worker.wrap(7).unwrap();
        assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
        token.forget_calls();
        let start = Instant::now();
        let mut bad = Vec::new();
        let mut good = Vec::new();
        for at in 0..200 {
            bad.push(worker.begin(unwrap(&forged(&wrapped, at))));
            if at % 10 == 0 {
                good.push(worker.begin(unwrap(&wrapped)));
            }
        }
        for number in &good {
            assert_eq!(first_byte(&worker.answer(*number).unwrap()), 7);
        }
        for number in bad {
            assert_eq!(worker.answer(number).unwrap_err().error.kind(), Kind::BadInput);
        }
        let canaries = token.calls("C_Decrypt") - 2 * 200 - good.len();
        let seconds = usize::try_from(start.elapsed().as_secs()).unwrap();
        assert!(canaries <= seconds + 1, "{canaries} canaries in {seconds} s");
        for function in ["C_Finalize", "C_Initialize", "C_Login", "C_Encrypt"] {
            assert_eq!(token.calls(function), 0, "{function}");
        }
    });
}
