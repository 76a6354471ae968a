//! An overloaded token answers like a broken one: it is left alone for a while, and never initialised again.

use token_shim::alone;

use super::*;

const MODULE: &str = "initialises the module again";

/// The clock stands still: a call that has worked has just worked.
fn frozen(test: impl FnOnce(Clock)) {
    with_turned_clock(async |clock| test(clock));
}

fn wrap(byte: u8) -> Call {
    let (id, data_key) = (v1(), key(byte));
    Call::Wrap { id, data_key }
}

fn find() -> Call {
    Call::Find { expected: vec![v1()] }
}

#[test]
fn a_throttled_token_wraps_what_it_is_given_and_is_not_initialised_anew() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::start(token);
        worker.wrap(7).unwrap();
        token.forget_calls();
        token.set("throttle 3");
        // As with `reuse: never`, where each write is one.
        let all: Vec<_> = (1..=8).map(|byte| worker.begin(wrap(byte))).collect();
        for number in all {
            worker.answer(number).unwrap();
        }
        assert!(token.calls("C_Encrypt") > 8, "it was throttled");
        assert_eq!((token.calls("C_Finalize"), token.calls("C_Login")), (0, 0));
        assert_eq!(worker.steps(), [""; 0]);
    });
}

#[test]
fn whatever_was_asked_of_a_throttled_token_is_asked_again() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::start(token);
        for (call, function) in [
            (find(), "C_FindObjectsInit"),
            (wrap(8), "C_EncryptInit"),
            (Call::Probe { id: Some(v1()) }, "C_OpenSession"),
        ] {
            worker.wrap(7).unwrap();
            token.forget_calls();
            worker.waited.clear();
            token.set(&format!("{function} fail 0x30 times 1"));
            let number = worker.begin(call);
            worker.answer(number).unwrap();
            token.set("");
            assert_eq!(
                (token.calls("C_Finalize"), token.calls("C_Login")),
                (0, 0),
                "{function}"
            );
            // Its time limit restarts before and after the pause, so it is not taken for one that hangs. On a busy
            // machine a discovery takes several time slices, and its time limit restarts around each.
            let waited = &worker.waited;
            assert!(
                waited.len() >= 2 && waited.iter().all(|waited| *waited == number),
                "{function}: {waited:?}"
            );
        }
    });
}

#[test]
fn a_token_that_stays_throttled_is_an_outage_and_keeps_its_sessions() {
    alone::run(|token| {
        plant(token);
        frozen(|clock| {
            let short = |assignment: &mut Assignment| assignment.options.call_timeout = Duration::from_secs(1);
            let worker = Worker::with(token, short, clock);
            worker.call_here(wrap(7)).unwrap();
            token.forget_calls();
            token.set("C_FindObjectsInit,C_EncryptInit fail 0x30");
            for call in [find(), wrap(8)] {
                let failure = worker.call_here(call).unwrap_err();
                assert_eq!((failure.error.kind(), failure.ends_worker), (Kind::Outage, false));
            }
            assert_eq!((token.calls("C_FindObjectsInit"), token.calls("C_EncryptInit")), (5, 5));
            assert_eq!((token.calls("C_Finalize"), token.calls("C_Login")), (0, 0));
            token.set("");
            worker.call_here(wrap(8)).unwrap();
        });
    });
}

#[test]
fn a_canary_waits_as_long_where_data_keys_were_only_wrapped() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::start(token);
        let wrapped = worker.wrap(7).unwrap();
        worker.wrap(8).unwrap();
        token.forget_calls();
        // The unwrap, then the canary.
        token.set("C_Decrypt fail 0x30 times 2");
        assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
        assert_eq!(token.calls("C_Finalize"), 0);
    });
}

#[test]
fn a_device_that_breaks_at_its_work_is_initialised_anew_when_no_pause_has_helped() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::start(token);
        worker.wrap(7).unwrap();
        token.forget_calls();
        token.set("C_EncryptInit fail 0x30 times 5");
        worker.wrap(8).unwrap();
        assert_eq!(worker.steps(), [MODULE]);
        assert_eq!((token.calls("C_Finalize"), token.calls("C_Initialize")), (1, 1));
    });
}
