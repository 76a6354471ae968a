//! Each step of recovery: the failures that it is for, and that no more expensive step is taken.

use token_shim::alone;

use super::*;

const SESSION: &str = "opens a new session";
const LOGIN: &str = "logs in again";
const MODULE: &str = "initialises the module again";

/// Makes calls at a token with this fault, and returns the steps that were taken.
fn after(token: &Token, worker: &mut Worker, wrapped: &Wrapped, control: &str) -> Vec<&'static str> {
    worker.steps();
    token.forget_calls();
    token.set(control);
    assert_eq!(worker.unwrap(wrapped).unwrap(), 7, "{control}");
    token.set("");
    worker.steps()
}

fn ready(token: &Token) -> (Worker, Wrapped) {
    plant(token);
    let mut worker = Worker::start(token);
    let wrapped = worker.wrap(7).unwrap();
    assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
    assert_eq!(worker.steps(), [""; 0]);
    (worker, wrapped)
}

#[test]
fn a_lost_session_costs_a_new_session() {
    alone::run(|token| {
        let (mut worker, wrapped) = ready(token);
        for value in ["0xb0", "0xb3"] {
            let steps = after(
                token,
                &mut worker,
                &wrapped,
                &format!("C_DecryptInit fail {value} times 1"),
            );
            assert_eq!(steps, [SESSION], "{value}");
            assert_eq!((token.calls("C_Login"), token.calls("C_OpenSession")), (0, 1));
        }
    });
}

#[test]
fn all_sessions_lost_with_the_login_cost_a_login_and_no_initialisation() {
    alone::run(|token| {
        let (mut worker, wrapped) = ready(token);
        for value in ["", "0xb0", "0xb3"] {
            let steps = after(token, &mut worker, &wrapped, &format!("sessions lost {value}"));
            assert_eq!(steps, [SESSION, LOGIN], "{value}");
            assert_eq!((token.calls("C_Login"), token.calls("C_Initialize")), (1, 0));
        }
        // The process is logged in again: later calls meet no fault.
        assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
        assert_eq!(worker.steps(), [""; 0]);
    });
}

#[test]
fn an_operation_that_was_left_active_is_left_behind_with_its_session() {
    alone::run(|token| {
        let (mut worker, wrapped) = ready(token);
        let steps = after(token, &mut worker, &wrapped, "C_DecryptInit fail 0x90 times 1");
        assert_eq!(steps, [SESSION]);
        // C_DecryptInit succeeded, C_Decrypt did not run: this session would return 0x90 for ever.
        let steps = after(token, &mut worker, &wrapped, "C_Decrypt fail 0xb3 times 1");
        assert_eq!(steps, [SESSION]);
        // One more than the call: a key that was searched again is checked by its proof record.
        assert_eq!(token.calls("C_DecryptInit"), 3);
    });
}

#[test]
fn a_key_whose_handle_has_changed_is_found_again_by_its_id() {
    alone::run(|token| {
        let (mut worker, wrapped) = ready(token);
        for value in ["0x82", "0x60"] {
            let steps = after(
                token,
                &mut worker,
                &wrapped,
                &format!("C_DecryptInit fail {value} times 1"),
            );
            assert_eq!(steps, [SESSION], "{value}");
            assert!(token.calls("C_FindObjectsInit") > 0, "{value}");
            assert_eq!(token.calls("C_Login"), 0, "{value}");
        }
    });
}

#[test]
fn a_lost_login_costs_a_login_whatever_the_token_says_of_it() {
    alone::run(|token| {
        let (mut worker, wrapped) = ready(token);
        for (value, steps) in [
            ("0x101", [LOGIN].as_slice()),
            ("0x82", &[SESSION, LOGIN]),
            ("0x60", &[SESSION, LOGIN]),
        ] {
            let taken = after(token, &mut worker, &wrapped, &format!("logged out {value}"));
            assert_eq!(taken, steps, "{value}");
            assert_eq!((token.calls("C_Login"), token.calls("C_Initialize")), (1, 0), "{value}");
        }
    });
}

#[test]
fn a_lost_login_that_hides_the_keys_costs_no_version() {
    alone::run(|token| {
        let (mut worker, _) = ready(token);
        let versions = worker.find(&[]).unwrap();
        token.forget_calls();
        token.set("logged out");
        assert_eq!(worker.find(&[v1()]).unwrap(), versions);
        assert_eq!(worker.steps(), [LOGIN]);
        token.set("logged out 0x82");
        assert_eq!(worker.find(&[]).unwrap(), versions);
        assert_eq!(token.calls("C_Initialize"), 0);
    });
}

#[test]
fn a_token_in_trouble_is_initialised_anew_once() {
    alone::run(|token| {
        let (mut worker, _) = ready(token);
        for value in ["0x5", "0x30", "0x32", "0x190", "0xe0", "0xe1"] {
            token.forget_calls();
            worker.forget_work();
            token.set(&format!("C_EncryptInit fail {value} times 1"));
            worker.wrap(8).unwrap();
            assert_eq!(worker.steps(), [MODULE], "{value}");
            assert_eq!(
                (token.calls("C_Finalize"), token.calls("C_Initialize")),
                (1, 1),
                "{value}"
            );
        }
    });
}

#[test]
fn a_module_is_never_finalised_around_a_call() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::with(token, |assignment| assignment.options.sessions = 2, Clock::system());
        worker.wrap(7).unwrap();
        worker.find(&[]).unwrap();
        token.forget_calls();
        token.set("C_Encrypt delay 300ms times 1\nC_FindObjectsInit fail 0x32 times 1");
        let slow = worker.begin(Call::Wrap {
            id: v1(),
            data_key: key(9),
        });
        while token.calls("C_Encrypt") == 0 {
            std::thread::yield_now();
        }
        let failing = worker.begin(Call::Find { expected: Vec::new() });
        assert!(worker.answer(failing).is_ok());
        // Answered before: the initialisation waited for it. Otherwise SoftHSM would have crashed this process.
        assert!(worker.answers.remove(&slow).unwrap().is_ok());
        let calls = token.record();
        let place = |name: &str| calls.iter().position(|(_, function)| function == name).unwrap();
        assert!(place("C_Encrypt") < place("C_Finalize"));
        assert_eq!(token.calls("C_Initialize"), 1);
    });
}

#[test]
fn no_session_of_before_is_closed_after_an_initialisation() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::with(token, |assignment| assignment.options.sessions = 4, Clock::system());
        let wrapped = worker.wrap(7).unwrap();
        // Every thread opens its session.
        token.set("C_Decrypt delay 100ms");
        let at_once = |worker: &mut Worker| {
            let calls: Vec<_> = (0..8).map(|_| worker.begin(unwrap(&wrapped))).collect();
            for number in calls {
                assert_eq!(first_byte(&worker.answer(number).unwrap()), 7);
            }
        };
        at_once(&mut worker);
        token.set("C_FindObjectsInit fail 0x32 times 1");
        worker.find(&[]).unwrap();
        token.set("");
        // Handles are reused: a stale one that is closed now would close one of these.
        at_once(&mut worker);
        let calls: Vec<_> = token.record().into_iter().map(|(_, function)| function).collect();
        let end = calls.iter().position(|function| function == "C_Finalize").unwrap();
        let (before, after) = calls.split_at(end);
        let count = |calls: &[String], name: &str| calls.iter().filter(|function| *function == name).count();
        assert_eq!(count(before, "C_OpenSession"), count(before, "C_CloseSession"));
        assert_eq!(count(after, "C_CloseSession"), 0);
    });
}

#[test]
fn no_module_is_finalised_while_a_session_is_being_closed() {
    alone::run(|token| {
        let (worker, _) = ready(token);
        token.forget_calls();
        let delay = Duration::from_secs(1);
        token.set("C_CloseSession delay 1s times 1");
        let sessions = &worker.service.sessions;
        let begin = std::time::Instant::now();
        std::thread::scope(|scope| {
            let leaving = sessions.clone();
            scope.spawn(move || leaving.leave(0));
            while token.calls("C_CloseSession") == 0 {
                assert!(begin.elapsed() < LONGEST, "no session is closed");
                std::thread::sleep(Duration::from_millis(1));
            }
            sessions.reconnect(sessions.generation());
            assert!(begin.elapsed() >= delay, "the session was not closed yet");
        });
    });
}

#[test]
fn of_many_calls_that_fail_at_once_one_initialises_the_module() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::with(token, |assignment| assignment.options.sessions = 4, Clock::system());
        let wrapped = worker.wrap(7).unwrap();
        token.forget_calls();
        // All four are in the module when it breaks.
        token.set("C_DecryptInit delay 1s times 4\nC_DecryptInit fail 0x32 times 4");
        let calls: Vec<_> = (0..4).map(|_| worker.begin(unwrap(&wrapped))).collect();
        for number in calls {
            assert_eq!(first_byte(&worker.answer(number).unwrap()), 7);
        }
        assert_eq!((token.calls("C_Initialize"), token.calls("C_Login")), (1, 1));
    });
}

#[test]
fn a_worker_whose_steps_are_used_up_ends() {
    alone::run(|token| {
        let (worker, wrapped) = ready(token);
        token.forget_calls();
        for (control, kind) in [
            ("C_DecryptInit fail 0x32", Kind::Outage),
            ("C_DecryptInit fail 0xb3", Kind::Outage),
            ("C_DecryptInit fail 0x101", Kind::Outage),
        ] {
            token.set(control);
            let failure = worker.call_here(unwrap(&wrapped)).unwrap_err();
            assert_eq!((failure.error.kind(), failure.ends_worker), (kind, true), "{control}");
        }
        assert_eq!(token.calls("C_Finalize"), 3, "once for each call");
    });
}

#[test]
fn what_a_token_refuses_is_a_refusal_and_changes_nothing() {
    alone::run(|token| {
        let (mut worker, _) = ready(token);
        token.forget_calls();
        token.set("C_EncryptInit fail 0x68");
        let failure = worker.wrap(8).unwrap_err();
        assert_eq!((failure.error.kind(), failure.ends_worker), (Kind::Refusal, false));
        assert_eq!((token.calls("C_Login"), token.calls("C_Finalize")), (0, 0));
        token.set("");
        worker.wrap(8).unwrap();
    });
}

#[test]
fn a_token_that_was_gone_is_opened_again() {
    alone::run(|token| {
        let (worker, _) = ready(token);
        let wrap = || Call::Wrap {
            id: v1(),
            data_key: key(8),
        };
        token.take_away();
        let failure = worker.call_here(wrap()).unwrap_err();
        assert_eq!((failure.error.kind(), failure.ends_worker), (Kind::Outage, true));
        token.put_back();
        // And it would not even have had to end.
        assert!(worker.call_here(wrap()).is_ok());
    });
}

#[test]
fn a_login_that_was_there_already_is_a_login() {
    alone::run(|token| {
        plant(token);
        token.set("login already");
        let mut worker = Worker::start(token);
        let wrapped = worker.wrap(7).unwrap();
        assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
        assert_eq!(worker.steps(), [""; 0]);
    });
}

#[test]
fn a_token_that_changes_what_it_can_is_tried_anew_and_opens_what_it_wrapped_before() {
    alone::run(|token| {
        let (mut worker, before) = ready(token);
        token.set("like luna");
        let luna = worker.wrap(8).unwrap();
        assert_ne!(luna.mechanism, before.mechanism);
        token.set("no gcm\nkwp");
        let kwp = worker.wrap(9).unwrap();
        assert!(!token.record().iter().any(|(_, function)| function == "C_Finalize"));
        token.set("kwp");
        for (wrapped, byte) in [(&before, 7), (&luna, 8), (&kwp, 9)] {
            assert_eq!(worker.unwrap(wrapped).unwrap(), byte);
        }
    });
}
