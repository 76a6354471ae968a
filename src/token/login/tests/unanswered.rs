//! Logins without a verdict: how often a PIN is tried, and which changes keep that count.

use super::*;

impl Node {
    /// A login that fails with an error that is not about the PIN.
    fn fails(&self) {
        match self.log_in_once(&|| {}).unwrap_err() {
            CallError::Final(failure) => assert!(!failure.pin_rejected, "{failure:?}"),
            CallError::Token(error) => assert_ne!(error.remedy(), Remedy::Pin, "{error}"),
        }
    }
}

#[test]
fn a_pin_of_which_the_token_never_says_a_word_is_tried_twice_and_then_when_its_source_is_touched() {
    alone::run(|token| {
        for answer in ["0x5", "0x80000001", "0x30", "0x32"] {
            token.unlock();
            token.set(&format!("pin locks 3 silent\nwrong-pin {answer}"));
            let node = Node::new(token, answer, "0000");
            node.fails();
            node.fails();
            for _restart in 0..3 {
                assert_eq!(node.rejected(token), 0);
            }
            assert_eq!(token.wrong_pins(), 2, "{answer}");
            let told = node.log_in().unwrap_err().error.chain();
            assert!(
                told.contains("ended without a verdict") && told.contains("`touch /"),
                "{told}"
            );
            node.set_pin(PIN);
            assert_eq!(node.log_in().unwrap(), LoginProof::Confirmed);
        }
    });
}

#[test]
fn who_is_killed_before_the_answer_is_written_down_has_tried_twice_at_most() {
    alone::run(|token| {
        token.set("pin locks 3 silent");
        let node = Node::new(token, "node", "0000");
        node.killed.set(true);
        node.fails();
        node.fails();
        node.killed.set(false);
        for _restart in 0..3 {
            assert_eq!(node.rejected(token), 0);
        }
        assert_eq!(token.wrong_pins(), 2);
        node.set_pin(PIN);
        node.log_in().unwrap();
    });
}

#[test]
fn a_pin_that_has_worked_outlasts_any_number_of_failed_logins() {
    alone::run(|token| {
        let node = Node::new(token, "node", PIN);
        node.log_in().unwrap();
        for answer in ["0x5", "0x30", "0x32", "0xE0", "0x80000001"] {
            token.set(&format!("C_Login fail {answer}"));
            for _restart in 0..4 {
                node.fails();
            }
        }
        // Its source is rewritten meanwhile.
        node.set_pin(PIN);
        node.fails();
        node.fails();
        node.fails();
        token.set("");
        assert_eq!(node.log_in().unwrap(), LoginProof::Confirmed);
    });
}

#[test]
fn a_token_that_is_not_there_is_no_try_of_a_pin() {
    alone::run(|token| {
        let node = Node::new(token, "node", PIN);
        for answer in ["0xE0", "0xE1", "0xB3", "0x102"] {
            token.set(&format!("C_Login fail {answer}"));
            for _restart in 0..3 {
                node.fails();
            }
        }
        token.set("");
        assert_eq!(node.log_in().unwrap(), LoginProof::Confirmed);
    });
}
