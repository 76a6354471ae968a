//! Before any verdict about a ciphertext a canary tells a bad one from a bad device.

use std::time::Instant;

use token_shim::alone;

use super::*;

/// What tokens say of a ciphertext that they can't open.
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
            assert_eq!(worker.rungs(), [""; 0], "{value}");
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
fn a_value_that_names_another_mechanism_is_bad_input() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::start(token);
        let good = worker.wrap(7).unwrap();
        for (mechanism, length) in [
            (crate::root_key::mechanism::Mechanism::AesKwp, 40),
            (crate::root_key::mechanism::Mechanism::RsaOaepSha1, 256),
        ] {
            let bytes = vec![3; length];
            assert_eq!(kind(worker.unwrap(&Wrapped { mechanism, bytes })), Kind::BadInput);
        }
        assert_eq!(token.calls("C_Finalize"), 0);
        assert_eq!(worker.unwrap(&good).unwrap(), 7);
    });
}

#[test]
fn a_broken_device_that_answers_the_same_is_an_outage_and_recovers() {
    alone::run(|token| {
        plant(token);
        for value in VALUES {
            let mut worker = Worker::start(token);
            let wrapped = worker.wrap(7).unwrap();
            worker.rungs();
            // The unwrap, then the canary, until the module is initialised anew.
            token.set(&format!("C_Decrypt fail {value} times 2"));
            assert_eq!(worker.unwrap(&wrapped).unwrap(), 7, "{value}");
            assert_eq!(worker.rungs(), [describe(Rung::Module)], "{value}");
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
        let canary = Job {
            number: 0,
            call: Call::Probe { id: Some(v1()) },
        };
        assert!(matches!(
            worker.service.climb(
                0,
                &Job {
                    number: 1,
                    call: unwrap(&wrapped)
                },
                true
            ),
            Step::Doubtful(_)
        ));
        let failure = worker.service.open_canary(0, &canary, &v1()).unwrap_err();
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
