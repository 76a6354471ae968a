//! Logins without a verdict: how many are allowed, in all processes together, and what removes the count.

use std::time::Duration;

use super::*;

#[test]
fn two_logins_without_an_outcome_are_all_until_the_source_is_touched() {
    let (_state, record) = record_of_kube();
    for _ in 0..2 {
        assert_eq!(record.status("kube", &pin("1234", 1)).unwrap(), PinStatus::New);
        assert_eq!(record.begin("kube", &pin("1234", 1)).unwrap(), PinStatus::New);
    }
    let unanswered = PinStatus::Unanswered;
    assert_eq!(record.begin("kube", &pin("1234", 1)).unwrap(), unanswered);
    assert_eq!(record.status("kube", &pin("1234", 1)).unwrap(), unanswered);
    assert_eq!(
        without_hashes(&record).status("kube", &pin("1234", 1)).unwrap(),
        unanswered
    );
    assert_eq!(record.status("kube", &pin("1234", 2)).unwrap(), PinStatus::New);
    // A credential is rewritten at each start with the same content.
    assert_eq!(record.status("kube", &credential("1234", 3)).unwrap(), unanswered);
    assert_eq!(record.status("kube", &credential("4321", 4)).unwrap(), PinStatus::New);
    // It was the right one.
    record.note_worked("kube", &pin("1234", 2)).unwrap();
    assert_eq!(record.status("kube", &pin("1234", 1)).unwrap(), PinStatus::Worked);
}

#[test]
fn a_credentials_logins_are_counted_over_restarts() {
    let (_state, record) = record();
    for start in 0..2 {
        let begun = record.begin("kube", &credential("1234", start)).unwrap();
        assert_eq!(begun, PinStatus::New);
    }
    assert_eq!(
        record.status("kube", &credential("1234", 2)).unwrap(),
        PinStatus::Unanswered
    );
}

#[test]
fn an_outcome_ends_the_count_and_what_is_no_judgement_takes_one_back() {
    let (_state, record) = record();
    let pin = pin("1234", 1);
    for (note, status) in [
        (PinRecord::note_worked as fn(&_, &_, &_) -> _, PinStatus::Worked),
        (PinRecord::note_locked, PinStatus::Rejected),
        (PinRecord::note_rejected, PinStatus::Rejected),
    ] {
        record.begin("kube", &pin).unwrap();
        record.begin("kube", &pin).unwrap();
        note(&record, "kube", &pin).unwrap();
        assert_eq!(record.status("kube", &pin).unwrap(), status);
        assert!(record.read().unwrap().line("kube").unwrap().begun.is_empty());
    }
    for _ in 0..5 {
        assert_eq!(record.begin("other", &pin).unwrap(), PinStatus::New);
        record.note_not_judged("other", &pin).unwrap();
        record.note_not_judged("other", &pin).unwrap();
        assert_eq!(record.status("other", &pin).unwrap(), PinStatus::New);
    }
}

#[test]
fn of_eight_who_begin_at_one_time_two_try_the_pin() {
    let (_state, record) = record();
    let barrier = std::sync::Barrier::new(8);
    let begin = || {
        // As concurrent processes do: each has asked before any of them begins.
        assert_eq!(record.status("kube", &pin("9999", 1)).unwrap(), PinStatus::New);
        barrier.wait();
        record.begin("kube", &pin("9999", 1)).unwrap()
    };
    let statuses: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(begin)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let untried = statuses.iter().filter(|status| status.is_untried()).count();
    assert_eq!(untried, 2, "{statuses:?}");
    let unanswered = |status: &&PinStatus| **status == PinStatus::Unanswered;
    assert_eq!(statuses.iter().filter(unanswered).count(), 6);
}

#[test]
fn a_pin_that_has_worked_or_was_rejected_is_not_counted() {
    let (_state, record) = record();
    record.note_worked("kube", &pin("1234", 1)).unwrap();
    record.note_rejected("kube", &pin("9999", 2)).unwrap();
    for _ in 0..3 {
        assert_eq!(record.begin("kube", &pin("1234", 1)).unwrap(), PinStatus::Worked);
        assert_eq!(record.begin("kube", &pin("9999", 2)).unwrap(), PinStatus::Rejected);
    }
    assert!(record.read().unwrap().line("kube").unwrap().begun.is_empty());
}

#[test]
fn of_one_token_one_login_has_its_turn_and_the_next_when_that_has_ended() {
    let (_state, record) = record();
    let turn = |token: &str, patience| record.turn(token, patience).unwrap();
    let first = turn("kube", Duration::ZERO).unwrap();
    assert!(turn("kube", Duration::ZERO).is_none());
    let elsewhere = turn("other", Duration::ZERO);
    assert!(elsewhere.is_some(), "another token is not held up");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| turn("kube", Duration::from_secs(60)).is_some());
        drop(first);
        assert!(waits.join().unwrap());
    });
}
