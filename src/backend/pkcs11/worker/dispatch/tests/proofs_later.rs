//! The parts of the proof record for which no call waits, and how a worker announces a wait for the disk.

use super::proofs::mechanisms;
use super::proofs::worker;
use super::*;
use crate::root_key::mechanism::Mechanism;
use crate::token::proof_record::ProofRecord;

const LABEL: &str = "kube.v1@20260301T1200Z";
const ID: &str = "01010101010101010101010101010101";

fn forget_proofs(token: &Token) {
    drop(std::fs::remove_file(token.path("state/proofs.json")));
}

/// Waits until the record has proofs by these mechanisms, in any order.
fn until_recorded(token: &Token, wanted: &[Mechanism]) {
    let since = std::time::Instant::now();
    loop {
        let found = mechanisms(token);
        if found.len() == wanted.len() && wanted.iter().all(|mechanism| found.contains(mechanism)) {
            return;
        }
        assert!(since.elapsed() < LONGEST, "{found:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_first_wrap_is_answered_before_other_mechanisms_are_tried() {
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        token.set("no cbc");
        worker(token).wrap(7).unwrap();
        let of_gcm = token.calls("C_Encrypt");
        forget_proofs(token);
        token.set(&format!("C_Encrypt hang after {of_gcm}"));
        // One of its threads hangs for ever.
        let mut worker = std::mem::ManuallyDrop::new(worker(token));
        let (id, data_key) = (v1(), key(7));
        worker.call(Call::Wrap { id, data_key }).unwrap();
        assert_eq!(mechanisms(token), [Mechanism::AesGcm]);
        // This process may end only after the hang has begun: SoftHSM does not survive its end during a call.
        let since = std::time::Instant::now();
        while token.calls("C_Encrypt") <= of_gcm {
            assert!(since.elapsed() < LONGEST, "no other mechanism is tried");
            std::thread::sleep(Duration::from_millis(10));
        }
    });
}

#[test]
fn a_disk_that_hangs_holds_up_no_first_unwrap() {
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        for (control, mechanism) in [("", Mechanism::AesGcm), ("no gcm", Mechanism::AesCbc)] {
            token.set(control);
            let wrapped = worker(token).wrap(7).unwrap();
            forget_proofs(token);
            let disk = files::lock(&token.path("state/proofs.json.lock")).unwrap();
            let mut worker = worker(token);
            for _ in 0..3 {
                assert_eq!(worker.unwrap(&wrapped).unwrap(), 7, "{control}");
            }
            assert_eq!(mechanisms(token), []);
            drop(disk);
            until_recorded(token, &[mechanism]);
            drop(worker);
            forget_proofs(token);
        }
    });
}

#[test]
fn a_call_says_when_it_waits_for_the_disk_and_between_the_steps_of_a_proof() {
    alone::run(|token| {
        // A private key: a public one is checked by its record before each wrap.
        plant(token);
        let signs = |worker: &mut Worker, call: Call| {
            let number = worker.begin(call);
            worker.answer(number).unwrap();
            let of_it = worker.waited.extract_if(.., |waiting| *waiting == number);
            of_it.count()
        };
        let wrap = || {
            let (id, data_key) = (v1(), key(7));
            Call::Wrap { id, data_key }
        };
        let mut first = worker(token);
        // To read and to write, and around the proof that is made in between.
        assert!(signs(&mut first, wrap()) >= 5);
        assert_eq!(signs(&mut first, wrap()), 0);
        let wrapped = first.wrap(7).unwrap();
        drop(first);
        let mut next = worker(token);
        assert!(signs(&mut next, unwrap(&wrapped)) >= 3);
        assert_eq!(signs(&mut next, unwrap(&wrapped)), 0);
    });
}

#[test]
fn a_search_among_many_public_objects_of_the_id_tells_that_it_goes_on() {
    alone::run(|token| {
        let session = test_token::session();
        test_token::plant(&session, LABEL, v1().as_bytes(), KeyType::AES, 32);
        for _ in 0..60 {
            test_token::plant_public(&session, LABEL, v1().as_bytes());
        }
        drop(session);
        Pkcs11::new(token_shim::path()).unwrap().finalize().unwrap();
        token.set("search-ignores CKA_PRIVATE\nC_GetAttributeValue delay 20ms");
        let mut worker = Worker::start(token);
        let (id, data_key) = (v1(), key(7));
        let number = worker.begin(Call::Wrap { id, data_key });
        worker.answer(number).unwrap();
        let signs = worker.waited.iter().filter(|waiting| **waiting == number).count();
        // At least 1.2 s, with a progress report each tenth of a second, apart from the duration of a step.
        assert!(signs >= 14, "{signs}");
    });
}

#[test]
fn proofs_of_objects_that_are_looked_for_anew_are_wanted_again() {
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        let mut worker = worker(token);
        worker.wrap(7).unwrap();
        worker.service.proofs.forget_record();
        worker.service.proofs.forget_tries();
        let found = worker.service.with_session(0, 1, |access| {
            let object = access.open.finder().key_at_once(access.session, &v1())?;
            access.open.finder().forget_key(&v1());
            worker.service.proofs.want_other_mechanisms(&v1(), &object);
            Ok(())
        });
        assert!(found.is_ok());
        worker.service.proofs.until_made();
        assert!(!worker.service.proofs.has_tried(&v1(), Mechanism::AesCbc));
    });
}

#[test]
fn a_token_that_does_one_mechanism_is_asked_for_others_once_however_often_a_public_key_wraps() {
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        token.set("no cbc");
        let mut worker = worker(token);
        worker.wrap(7).unwrap();
        let written = || {
            std::fs::metadata(token.path("state/proofs.json"))
                .unwrap()
                .modified()
                .unwrap()
        };
        let before = written();
        token.forget_calls();
        for _ in 0..3 {
            worker.wrap(7).unwrap();
        }
        // The wrap, and the proof that shows the key.
        assert_eq!((token.calls("C_Encrypt"), token.calls("C_Decrypt")), (3, 3));
        assert_eq!(written(), before);
    });
}

#[test]
fn a_proof_is_added_only_by_a_key_that_opens_another_one_of_the_version() {
    const OTHER: &str = "02020202020202020202020202020202";
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        token.plant("another one", OTHER, 2);
        token.set("no cbc");
        let mut worker = worker(token);
        let wrapped = worker.wrap(7).unwrap();
        worker.service.proofs.forget_tries();
        // Under the handle that has shown itself to be the key of before.
        token.set(&format!("exchanged {ID} {OTHER}"));
        let found = worker.service.with_session(0, 1, |access| {
            let object = access.open.finder().key_at_once(access.session, &v1())?;
            worker.service.proofs.want_other_mechanisms(&v1(), &object);
            Ok(())
        });
        assert!(found.is_ok());
        worker.service.proofs.until_made();
        assert_eq!(mechanisms(token), [Mechanism::AesGcm]);
        token.set("");
        assert_eq!(worker.unwrap(&wrapped).unwrap(), 7);
    });
}

#[test]
fn a_first_proof_that_was_cut_short_is_made_by_another_mechanism() {
    alone::run(|token| {
        token.plant(LABEL, ID, 1);
        token.set("no gcm");
        let wrapped = worker(token).wrap(7).unwrap();
        forget_proofs(token);
        token.set("");
        let record = ProofRecord::of(&token.path("state"));
        let name = "kube".parse().unwrap();
        record.begin(&name, Vec::new()).unwrap();
        let now = Clock::system().now();
        assert_eq!(record.begin_proof(&name, &v1(), Mechanism::AesCbc, now).unwrap(), None);
        let mut worker = worker(token);
        worker.unwrap(&wrapped).unwrap();
        until_recorded(token, &[Mechanism::AesGcm]);
    });
}

/// Ends a daemon during a proof in which the token hangs; whether the next worker may repeat the proof.
fn may_repeat_what_was_cut_short(token: &Token, call_timeout: Duration) -> bool {
    plant(token);
    token.set("hang cbc");
    let change = |assignment: &mut Assignment| assignment.options.call_timeout = call_timeout;
    // One of its threads hangs for ever.
    let mut worker = std::mem::ManuallyDrop::new(Worker::with(token, change, Clock::system()));
    let (id, data_key) = (v1(), key(7));
    worker.call(Call::Wrap { id, data_key }).unwrap();
    let since = std::time::Instant::now();
    let noted = || std::fs::read_to_string(token.path("state/proofs.json")).unwrap_or_default();
    while !noted()
        .replace([' ', '\n'], "")
        .contains("\"begun\":[{\"mechanism\":4,")
    {
        assert!(since.elapsed() < LONGEST, "no other mechanism is tried");
        std::thread::sleep(Duration::from_millis(10));
    }
    worker.service.proofs.close();
    worker.service.proofs.withdraw();
    let record = ProofRecord::of(&token.path("state"));
    let now = Clock::system().now();
    let begun = record.begin_proof(&"kube".parse().unwrap(), &v1(), Mechanism::AesCbc, now);
    begun.unwrap().is_none()
}

#[test]
fn a_proof_that_the_end_of_the_daemon_cuts_short_may_be_repeated() {
    alone::run(|token| assert!(may_repeat_what_was_cut_short(token, LONGEST)));
}

#[test]
fn a_proof_that_hung_before_the_daemon_ended_may_not_be_repeated_at_once() {
    alone::run(|token| assert!(!may_repeat_what_was_cut_short(token, Duration::ZERO)));
}
