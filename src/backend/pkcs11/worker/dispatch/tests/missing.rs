//! A version that is not found is an outage until a fresh worker has proven that it is gone.

use token_shim::alone;

use super::*;

fn find() -> Call {
    Call::Find { expected: vec![v1()] }
}

fn open() -> Call {
    unwrap(&Wrapped {
        mechanism: crate::root_key::mechanism::Mechanism::AesGcm,
        bytes: vec![0; 60],
    })
}

/// The kind of a failure, and whether the worker ends.
fn failure(result: Result<Outcome, Failure>) -> (Kind, bool) {
    let failure = result.unwrap_err();
    (failure.error.kind(), failure.ends_worker)
}

#[test]
fn what_a_worker_has_seen_it_never_calls_missing() {
    alone::run(|token| {
        plant(token);
        with_turned_clock(async |clock| {
            let worker = Worker::with(token, |_| {}, clock);
            assert!(worker.call_here(find()).is_ok());
            token.set("finds nothing");
            for call in [find(), open(), find()] {
                assert_eq!(failure(worker.call_here(call)), (Kind::Outage, true));
                after(3600).await;
            }
            token.set("");
            assert!(worker.call_here(find()).is_ok());
        });
    });
}

#[test]
fn a_fresh_worker_proves_by_two_looks_15_s_apart_that_a_version_is_gone() {
    alone::run(|token| {
        plant(token);
        token.set("finds nothing");
        with_turned_clock(async |clock| {
            let worker = Worker::with(token, |_| {}, clock);
            assert_eq!(failure(worker.call_here(find())), (Kind::Outage, false));
            assert_eq!(failure(worker.call_here(open())), (Kind::Outage, false));
            after(14).await;
            assert_eq!(failure(worker.call_here(find())), (Kind::Outage, false));
            assert_eq!(failure(worker.call_here(open())), (Kind::Outage, false));
            after(1).await;
            assert!(matches!(worker.call_here(find()), Ok(Outcome::Listed(none, _)) if none.is_empty()));
            assert_eq!(failure(worker.call_here(open())), (Kind::Refusal, false));
            // If it is found all the same, it exists.
            token.set("");
            assert!(matches!(worker.call_here(find()), Ok(Outcome::Listed(one, _)) if one.len() == 1));
        });
    });
}

#[test]
fn a_login_that_was_there_already_proves_nothing() {
    alone::run(|token| {
        plant(token);
        token.set("finds nothing\nlogin already");
        with_turned_clock(async |clock| {
            let worker = Worker::with(token, |_| {}, clock);
            for _ in 0..4 {
                assert_eq!(failure(worker.call_here(find())), (Kind::Outage, false));
                assert_eq!(failure(worker.call_here(open())), (Kind::Outage, false));
                after(3600).await;
            }
        });
    });
}

#[test]
fn a_command_believes_what_it_does_not_find() {
    alone::run(|token| {
        plant(token);
        token.set("finds nothing");
        let worker = Worker::with(token, |assignment| assignment.role = Role::Admin, Clock::system());
        assert!(matches!(worker.call_here(find()), Ok(Outcome::Listed(none, _)) if none.is_empty()));
        drop(worker);
        token.set("finds nothing\nlogin already");
        let worker = Worker::with(token, |assignment| assignment.role = Role::Admin, Clock::system());
        assert_eq!(worker.call_here(find()).unwrap_err().error.kind(), Kind::Outage);
    });
}

#[test]
fn a_version_made_by_another_process_is_found_without_a_login() {
    alone::run(|token| {
        plant(token);
        let mut worker = Worker::start(token);
        assert_eq!(worker.find(&[]).unwrap().len(), 1);
        std::fs::write(token.path("key"), [9; 32]).unwrap();
        let made = std::process::Command::new("softhsm2-util")
            .arg("--import")
            .arg(token.path("key"))
            .args(["--aes", "--token", "kube", "--pin", token_shim::token::PIN])
            .args(["--label", "kube.v2", "--id", "0202020202020202"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{made:?}");
        token.forget_calls();
        assert_eq!(worker.find(&[]).unwrap().len(), 2);
        for function in ["C_Login", "C_OpenSession", "C_Initialize"] {
            assert_eq!(token.calls(function), 0, "{function}");
        }
    });
}
