//! Keys that are exchanged under their id, and a token that only seems to have exchanged one.

use super::*;
use crate::root_key::high_water::HighWater;
use crate::root_key::high_water::HighWaterFile;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;
use crate::token::proof_record::Proof;
use crate::token::proof_record::ProofRecord;

const LABEL: &str = "kube.v1@20260301T1200Z";
const ID: &str = "01010101010101010101010101010101";

/// A worker that counts public objects.
pub(super) fn worker(token: &Token) -> Worker {
    let public = |assignment: &mut Assignment| assignment.options.private = false;
    Worker::with(token, public, Clock::system())
}

fn kind<T: std::fmt::Debug>(result: Result<T, Failure>) -> Kind {
    result.unwrap_err().error.kind()
}

fn record(token: &Token) -> ProofRecord {
    ProofRecord::of(&token.path("state"))
}

pub(super) fn mechanisms(token: &Token) -> Vec<Mechanism> {
    let line = record(token).read(&"kube".parse().unwrap()).unwrap();
    let proofs = line.map(|line| line.proofs(&v1()).iter().map(Proof::mechanism).collect());
    proofs.unwrap_or_default()
}

/// Waits until the record has these proofs: no call waits for most of them.
fn until_recorded(token: &Token, wanted: &[Mechanism]) {
    let since = std::time::Instant::now();
    while mechanisms(token) != wanted {
        assert!(since.elapsed() < LONGEST, "{:?}", mechanisms(token));
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn another_key_under_the_id_wraps_and_unwraps_nothing_until_the_right_one_is_back() {
    alone::run(|token| {
        for (control, key) in [("", 1), ("no gcm", 2), ("no gcm\nkwp", 3), ("like luna", 4)] {
            drop(std::fs::remove_file(token.path("state/proofs.json")));
            token.set(control);
            token.plant(LABEL, ID, key);
            let mut first = worker(token);
            let wrapped = first.wrap(7).unwrap();
            token.exchange(LABEL, ID, 100);
            // In the worker that has used it, and in a new one.
            for fresh in [false, true] {
                if fresh {
                    drop(first);
                    first = worker(token);
                }
                let refused = first.wrap(8).unwrap_err().error;
                assert_eq!(refused.kind(), Kind::Corruption, "{control}");
                assert!(refused.chain().contains("accept-loss"), "{}", refused.chain());
                assert_eq!(kind(first.unwrap(&wrapped)), Kind::Corruption, "{control}");
                assert_eq!(kind(first.wrap(8)), Kind::Corruption, "{control}");
            }
            token.exchange(LABEL, ID, key);
            // It is checked again, at most once a second.
            let opened = loop {
                match first.unwrap(&wrapped) {
                    Err(failure) if failure.error.kind() == Kind::Corruption => {
                        std::thread::sleep(Duration::from_millis(20));
                    }
                    done => break done,
                }
            };
            assert_eq!(opened.unwrap(), 7, "{control}");
            first.wrap(8).unwrap();
            drop(first);
            token.uproot(ID);
        }
    });
}

#[test]
fn a_public_key_that_is_exchanged_under_its_handle_wraps_nothing_and_unwraps_nothing_after_the_next_list() {
    const OTHER: &str = "02020202020202020202020202020202";
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        token.plant("another one", OTHER, 2);
        let mut worker = worker(token);
        let wrapped = worker.wrap(7).unwrap();
        token.set(&format!("exchanged {ID} {OTHER}"));
        assert_eq!(kind(worker.wrap(8)), Kind::Corruption);
        token.set("");
        let since = std::time::Instant::now();
        while worker.wrap(8).is_err() {
            assert!(since.elapsed() < LONGEST);
            std::thread::sleep(Duration::from_millis(20));
        }
        worker.unwrap(&wrapped).unwrap();
        token.set(&format!("exchanged {ID} {OTHER}"));
        worker.find(&[]).unwrap();
        assert_eq!(kind(worker.unwrap(&wrapped)), Kind::Corruption);
    });
}

#[test]
fn a_first_wrap_that_another_worker_has_recorded_meanwhile_is_judged_by_that_record() {
    alone::run(|token| {
        let name: RootKeyName = "kube".parse().unwrap();
        token.plant(LABEL, ID, 1);
        worker(token).wrap(7).unwrap();
        let of_key_1 = record(token).read(&name).unwrap().unwrap().proofs(&v1())[0].clone();
        for (byte, expected) in [(1, Ok(())), (2, Err(Kind::Corruption))] {
            assert!(record(token).forget(&name, &v1()).unwrap());
            token.exchange(LABEL, ID, byte);
            let mut slow = worker(token);
            slow.wrap(8).unwrap();
            // As if another worker had been faster.
            assert!(record(token).forget(&name, &v1()).unwrap());
            assert!(record(token).add_first(&name, &v1(), of_key_1.clone()).unwrap());
            let first = slow.service.with_session(0, 1, |access| {
                let object = access.open.finder().key_at_once(access.session, &v1())?;
                slow.service.proofs.record_first_wrap(access, &v1(), &object)
            });
            let failed = first.map_err(|problem| match problem {
                CallError::Final(failure) => failure.error.kind(),
                CallError::Token(error) => panic!("{error}"),
            });
            assert_eq!(failed, expected, "{byte}");
        }
    });
}

#[test]
fn a_record_is_made_by_every_mechanism_and_costs_the_next_worker_one_unwrap() {
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        token.set("kwp");
        let mut one = worker(token);
        let wrapped = one.wrap(7).unwrap();
        until_recorded(token, &[Mechanism::AesGcm, Mechanism::AesKwp, Mechanism::AesCbc]);
        drop(one);
        let mut other = worker(token);
        token.forget_calls();
        other.unwrap(&wrapped).unwrap();
        assert_eq!(token.calls("C_Decrypt"), 2);
        for _ in 0..3 {
            other.unwrap(&wrapped).unwrap();
        }
        assert_eq!((token.calls("C_Decrypt"), token.calls("C_Encrypt")), (5, 0));
    });
}

#[test]
fn a_token_in_trouble_is_never_taken_for_one_with_another_key() {
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        let wrapped = worker(token).wrap(7).unwrap();
        for value in ["0x5", "0x30", "0x40"] {
            for times in 1..30 {
                let mut worker = worker(token);
                worker.find(&[]).unwrap();
                token.set(&format!("C_Decrypt fail {value} times {times}"));
                // In this thread: a worker that would end does not.
                let step =
                    worker
                        .service
                        .call_with_recovery(0, &Job::new(0, unwrap(&wrapped)), OnBadCiphertext::Suspect);
                token.set("");
                if let JobOutcome::Answered(Err(failure)) = step {
                    let kind = failure.error.kind();
                    assert_eq!(kind, Kind::Outage, "{value} {times}: {}", failure.error.chain());
                }
            }
            let mut worker = worker(token);
            worker.find(&[]).unwrap();
            token.set(&format!("C_Encrypt,C_Decrypt fail {value}"));
            let step = worker
                .service
                .call_with_recovery(0, &Job::new(0, unwrap(&wrapped)), OnBadCiphertext::Suspect);
            token.set("");
            let JobOutcome::Answered(Err(failure)) = step else {
                panic!("{value}: it can't be answered")
            };
            assert_eq!(failure.error.kind(), Kind::Outage, "{value}: {}", failure.error.chain());
            assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
        }
    });
}

#[test]
fn a_token_that_ceases_to_permit_the_mechanism_is_proven_by_another_or_refused() {
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        let mut able = worker(token);
        let wrapped = able.wrap(7).unwrap();
        until_recorded(token, &[Mechanism::AesGcm, Mechanism::AesCbc]);
        drop(able);
        // One that opens is enough.
        token.set("no gcm");
        worker(token).wrap(7).unwrap();
        drop(std::fs::remove_file(token.path("state/proofs.json")));
        worker(token).wrap(7).unwrap();
        assert_eq!(mechanisms(token), [Mechanism::AesCbc]);
        token.set("no cbc");
        let refused = worker(token).unwrap(&wrapped).unwrap_err().error;
        assert_eq!(refused.kind(), Kind::Refusal);
        assert!(
            refused.chain().contains("permit such a mechanism again"),
            "{}",
            refused.chain()
        );
        // Its other mechanisms are recorded as soon as possible.
        token.set("");
        let mut able = worker(token);
        able.wrap(7).unwrap();
        until_recorded(token, &[Mechanism::AesCbc, Mechanism::AesGcm]);
        drop(able);
        token.set("no cbc");
        assert_eq!(worker(token).unwrap(&wrapped).unwrap(), 7);
    });
}

#[test]
fn a_version_that_only_unwraps_here_is_recorded_by_what_it_opens() {
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        for (control, recorded) in [("", Mechanism::AesGcm), ("no gcm", Mechanism::AesCbc)] {
            token.set(control);
            let wrapped = worker(token).wrap(7).unwrap();
            drop(std::fs::remove_file(token.path("state/proofs.json")));
            let mut worker = worker(token);
            // A wrapped key that does not open records nothing.
            worker.unwrap(&forged(&wrapped, 200)).ok();
            worker.unwrap(&wrapped).unwrap();
            until_recorded(token, &[recorded]);
            drop(worker);
            drop(std::fs::remove_file(token.path("state/proofs.json")));
        }
    });
}

#[test]
fn nothing_is_wrapped_and_nothing_new_unwrapped_when_the_record_cannot_be_read_or_written() {
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        let file = token.path("state/proofs.json");
        let mut before = worker(token);
        let wrapped = before.wrap(7).unwrap();
        let good = std::fs::read(&file).unwrap();
        std::fs::write(&file, "{").unwrap();
        // Keys that were confirmed before stay usable.
        assert_eq!(before.unwrap(&wrapped).unwrap(), 7);
        drop(before);
        let mut after = worker(token);
        for failure in [
            after.wrap(8).map(drop).unwrap_err(),
            after.unwrap(&wrapped).unwrap_err(),
        ] {
            let error = failure.error;
            assert_eq!(error.kind(), Kind::Outage);
            assert!(error.chain().contains("proofs.json is damaged"), "{}", error.chain());
        }
        std::fs::write(&file, &good).unwrap();
        assert_eq!(after.unwrap(&wrapped).unwrap(), 7);
        drop(after);

        // A directory takes the name of the temporary file.
        std::fs::remove_file(&file).unwrap();
        std::fs::create_dir_all(token.path("state/proofs.json.new/full")).unwrap();
        let mut full = worker(token);
        let error = full.wrap(8).unwrap_err().error;
        assert_eq!(error.kind(), Kind::Refusal);
        assert!(error.chain().contains("cannot be written"), "{}", error.chain());
        assert_eq!(full.unwrap(&wrapped).unwrap(), 7);
        std::fs::remove_dir_all(token.path("state/proofs.json.new")).unwrap();
        full.wrap(8).unwrap();
    });
}

#[test]
fn the_records_of_a_node_that_has_reported_begin_with_what_it_lists_first_and_never_again() {
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        let name = "kube".parse().unwrap();
        let state = assignment(token).state.unwrap();
        let listed = |role: Role| {
            let mut worker = Worker::with(token, |assignment| assignment.role = role, Clock::system());
            worker.find(&[]).unwrap().len()
        };
        let fresh = || {
            let mut worker = Worker::start(token);
            worker.begin(Call::Find { expected: Vec::new() })
        };
        // Nothing was reported, so no public object counts.
        assert_eq!(listed(Role::Look), 0);
        assert_eq!(fresh(), 1);
        drop(std::fs::remove_file(state.join("proofs.json")));
        let (number, id) = (Number::FIRST, v1());
        HighWaterFile::of(&state)
            .write(&name, HighWater { number, id })
            .unwrap();
        // A command shows the daemon's later decision, and does not begin the records.
        assert_eq!(listed(Role::Look), 1);
        assert_eq!(record(token).read(&name).unwrap(), None);
        assert_eq!(listed(Role::Daemon), 1);
        assert_eq!(record(token).read(&name).unwrap().unwrap().public, [v1()]);
        token.plant("kube.v2", "02020202020202020202020202020202", 2);
        assert_eq!((listed(Role::Daemon), listed(Role::Look)), (1, 1));
        assert!(record(token).forget(&name, &v1()).unwrap());
        assert_eq!(listed(Role::Look), 0);
    });
}
