//! Discovery on a token with many keys of other applications.

use token_shim::alone;

use super::*;

/// More would show nothing else, and SoftHSM takes minutes to make them.
const STRANGERS: usize = 200;

/// A token with the first version of a root key among many other keys.
fn plant_among_strangers(token: &Token) {
    let session = test_token::session();
    for number in 0..STRANGERS {
        let id = u64::try_from(number).unwrap().to_be_bytes();
        test_token::plant(&session, &format!("tls-{number}"), &id, KeyType::AES, 32);
    }
    drop(session);
    Pkcs11::new(token_shim::path()).unwrap().finalize().unwrap();
    plant(token);
}

impl Worker {
    /// Begins a discovery, and returns when it lets other calls run.
    fn begin_find(&mut self) -> u64 {
        let find = self.begin(Call::Find { expected: Vec::new() });
        loop {
            match self.heard.recv().unwrap() {
                FromWorker::ExtendDeadline(more) if more.of == Paused::Call(find) && !more.pause.is_zero() => {
                    return find;
                }
                FromWorker::Answer(_) => panic!("nobody else had a turn"),
                _ => {}
            }
        }
    }

    fn found(&mut self, find: u64) -> usize {
        match self.answer(find).unwrap() {
            Outcome::Listed(versions, _) => versions.len(),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn a_discovery_among_strangers_looks_once_at_each_and_lets_others_have_their_turn() {
    alone::run(|token| {
        plant_among_strangers(token);
        let mut worker = Worker::start(token);
        token.set("C_GetAttributeValue delay 10ms");
        let find = worker.begin_find();
        worker.wrap(7).unwrap();
        assert!(
            !worker.answers.contains_key(&find),
            "one wrap is between two time slices"
        );
        assert_eq!(worker.found(find), 1);
        let reads = token.calls("C_GetAttributeValue");
        assert!((STRANGERS..STRANGERS + 50).contains(&reads), "{reads}");
        // One sixtieth of them is read again each time.
        token.forget_calls();
        assert_eq!(worker.find(&[v1()]).unwrap().len(), 1);
        let reads = token.calls("C_GetAttributeValue");
        assert!(reads < STRANGERS / 60 + 50, "{reads}");
    });
}

#[test]
fn a_discovery_on_one_session_keeps_no_other_session_waiting() {
    alone::run(|token| {
        plant_among_strangers(token);
        let mut worker = Worker::with(token, |assignment| assignment.options.sessions = 2, Clock::system());
        token.set("C_GetAttributeValue delay 10ms");
        worker.wrap(6).unwrap();
        let find = worker.begin_find();
        // Not even a call that must initialise the module again. The discovery then begins anew, and that is all.
        token.set("C_GetAttributeValue delay 10ms\nC_EncryptInit fail 0x5 times 1");
        worker.wrap(7).unwrap();
        assert!(!worker.answers.contains_key(&find));
        assert_eq!(worker.found(find), 1);
        assert_eq!(token.calls("C_Finalize"), 1);
    });
}

#[test]
fn what_cannot_be_interrupted_says_that_it_goes_on() {
    alone::run(|token| {
        plant_among_strangers(token);
        let mut worker = Worker::start(token);
        worker.find(&[]).unwrap();
        token.set("C_FindObjects delay 100ms");
        let find = worker.begin(Call::Find { expected: Vec::new() });
        let mut signs = 0;
        loop {
            match worker.heard.recv().unwrap() {
                FromWorker::ExtendDeadline(more) => {
                    signs += u32::from(more.of == Paused::Call(find) && more.pause.is_zero());
                }
                FromWorker::Answer(_) => break,
                _ => {}
            }
        }
        // 200 keys in groups of ten at 100 ms each take 2 s.
        assert!(signs > 10, "{signs}");
    });
}
