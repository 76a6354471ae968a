//! The promises about PINs: which PINs are tried, how often, and which never again.

mod unanswered;

use std::cell::Cell;
use std::cell::RefCell;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::PathBuf;

use cryptoki::slot::Slot;
use token_shim::alone;
use token_shim::token::PIN;
use token_shim::token::Token;

use super::*;
use crate::files;
use crate::hardening::LockMemory;
use crate::token::module::Module;
use crate::token::problem::Failure;
use crate::token::session::find_token;
use crate::token::test_token;

/// A node with its own PIN file and its own record, on the token of this process.
struct Node {
    assignment: Assignment,
    state: PathBuf,
    /// Dies before it records the outcome of a login.
    killed: Cell<bool>,
    /// The number of its waits before an unproven PIN.
    waits: Cell<usize>,
    told: RefCell<Vec<String>>,
    /// The durations that it has announced.
    busy: RefCell<Vec<Duration>>,
}

impl Node {
    fn new(token: &Token, name: &str, pin: &str) -> Self {
        let state = token.path(name);
        let file = token.path(&format!("{name}.pin"));
        files::private_directory(&state).unwrap();
        let mut options = test_token::options();
        options.pin = Some(PinSource::File(file));
        let node = Self {
            assignment: Assignment {
                role: Role::Daemon,
                root_key: "kube".parse().unwrap(),
                options,
                state: Some(state.clone()),
                memory: 1 << 30,
                lock_memory: LockMemory::Off,
            },
            state,
            killed: Cell::new(false),
            waits: Cell::new(0),
            told: RefCell::default(),
            busy: RefCell::default(),
        };
        node.set_pin(pin);
        node
    }

    fn set_pin(&self, pin: &str) {
        let Some(PinSource::File(file)) = &self.assignment.options.pin else {
            panic!("no file");
        };
        files::replace(file, pin.as_bytes()).unwrap();
    }

    /// Logs in as a new process would; `pause` runs while it waits.
    fn log_in_while(&self, pause: &dyn Fn()) -> Result<LoginProof, Failure> {
        self.log_in_once(pause).map_err(|problem| match problem {
            CallError::Final(failure) => failure,
            CallError::Token(error) => panic!("{error}"),
        })
    }

    fn log_in_once(&self, pause: &dyn Fn()) -> Result<LoginProof, CallError> {
        let module = Module::load(&self.assignment.options.module).unwrap();
        let (slot, _) = find_token(&module, &self.assignment.options.token).unwrap();
        let session = module.open(slot, false).unwrap();
        let outcome = self.attempt(&module, slot, &session, pause);
        drop(session);
        module.finalize().unwrap();
        outcome
    }

    fn attempt(
        &self,
        module: &Module,
        slot: Slot,
        session: &Session,
        pause: &dyn Fn(),
    ) -> Result<LoginProof, CallError> {
        let record = PinRecord::quick(&self.state);
        let logins = || {
            let calls = std::fs::read_to_string(std::env::var_os("DEKHAND_SHIM_CALLS").unwrap()).unwrap();
            calls.matches("C_Login").count()
        };
        let before = logins();
        let attempt = Attempt {
            assignment: &self.assignment,
            records: Some(&record),
            flags: &|| module.token_info(slot),
            wait: &|longest, _| {
                assert!(longest <= LONGEST_PATIENCE);
                self.waits.set(self.waits.get() + 1);
                pause();
            },
            busy: &|time| {
                assert!(!self.killed.get() || logins() == before, "killed");
                self.busy.borrow_mut().push(time);
            },
            warn: &|told| self.told.borrow_mut().push(told),
        };
        catch_unwind(AssertUnwindSafe(|| attempt.log_in(session))).unwrap_or_else(|_| Err(CallError::outage("killed")))
    }

    fn log_in(&self) -> Result<LoginProof, Failure> {
        self.log_in_while(&|| {})
    }

    /// A login that fails because of the PIN, and the number of attempts spent.
    fn rejected(&self, token: &Token) -> usize {
        let before = token.calls("C_Login");
        let failure = self.log_in().unwrap_err();
        assert!(failure.pin_rejected && !failure.ends_worker, "{failure:?}");
        token.calls("C_Login") - before
    }
}

#[test]
fn a_pin_that_works_is_waited_for_once_and_never_again() {
    alone::run(|token| {
        let node = Node::new(token, "node", PIN);
        for _ in 0..3 {
            assert_eq!(node.log_in().unwrap(), LoginProof::Confirmed);
        }
        assert_eq!(node.waits.get(), 1);
    });
}

#[test]
fn a_rejected_pin_is_never_tried_again_by_itself() {
    alone::run(|token| {
        let node = Node::new(token, "node", "0000");
        assert_eq!(node.rejected(token), 1);
        // As in a restart loop: each time a new process.
        for _ in 0..5 {
            assert_eq!(node.rejected(token), 0);
        }
        // Rewritten with the same content.
        node.set_pin("0000");
        assert_eq!(node.rejected(token), 0);
    });
}

#[test]
fn a_rejected_pin_is_followed_by_a_try_when_its_source_changes() {
    alone::run(|token| {
        let node = Node::new(token, "node", "0000");
        assert_eq!(node.rejected(token), 1);
        node.set_pin("1111");
        assert_eq!(node.rejected(token), 1);
        node.set_pin(PIN);
        assert_eq!(node.log_in().unwrap(), LoginProof::Confirmed);
    });
}

#[test]
fn a_pin_that_is_corrected_while_a_node_waits_is_the_one_that_is_tried() {
    alone::run(|token| {
        let node = Node::new(token, "node", "0000");
        assert!(node.log_in_while(&|| node.set_pin(PIN)).is_ok());
        assert_eq!(token.calls("C_Login"), 1);
    });
}

#[test]
fn a_pin_that_never_worked_is_not_tried_when_a_flag_warns() {
    alone::run(|token| {
        // One wrong PIN of three: count low. Two: final try. Three: locked.
        token.set("pin locks 3");
        for wrong in ["0000", "1111", "2222"] {
            let other = Node::new(token, wrong, wrong);
            // A command of another program, which does not look at flags.
            other.spend(wrong);
            for pin in ["9999", PIN] {
                assert_eq!(Node::new(token, &format!("{wrong}-{pin}"), pin).rejected(token), 0);
            }
        }
        assert_eq!(token.wrong_pins(), 3);
    });
}

#[test]
fn a_pin_that_has_worked_is_tried_while_the_count_is_low_and_not_as_the_last_try() {
    alone::run(|token| {
        token.set("pin locks 3");
        let node = Node::new(token, "node", PIN);
        node.log_in().unwrap();
        node.spend("0000");
        node.log_in().unwrap();
        assert_eq!(token.wrong_pins(), 0, "the right one resets the count");
        node.spend("0000");
        node.spend("1111");
        assert_eq!(node.rejected(token), 0);
        assert_eq!(token.wrong_pins(), 2);
        node.spend("2222");
        assert_eq!(node.rejected(token), 0);
        token.unlock();
        node.log_in().unwrap();
    });
}

#[test]
fn three_nodes_with_one_wrong_pin_spend_one_try_each_at_most() {
    alone::run(|token| {
        for (control, spent) in [
            // Its flags warn the second node.
            ("pin locks 10", 1),
            ("pin locks 3", 1),
            // No flag warns.
            ("pin locks 10 silent", 3),
            ("pin locks 4 silent", 3),
        ] {
            token.unlock();
            token.set(control);
            let name = |number: usize| format!("{}-{number}", control.replace(' ', "-"));
            let nodes: Vec<_> = (0..3).map(|number| Node::new(token, &name(number), "0000")).collect();
            for _restart in 0..3 {
                for node in &nodes {
                    node.rejected(token);
                }
            }
            assert_eq!(token.wrong_pins(), spent, "{control}");
            // Corrected on one node after the other. The first is a node that has seen its own PIN rejected.
            for node in &nodes {
                node.set_pin(PIN);
                node.log_in().unwrap();
            }
        }
    });
}

#[test]
fn the_right_pin_of_a_locked_token_is_tried_once_and_works_when_its_source_was_touched() {
    alone::run(|token| {
        token.set("pin locks 1 silent");
        let node = Node::new(token, "node", PIN);
        node.log_in().unwrap();
        node.spend("0000");
        assert_eq!(node.rejected(token), 1);
        assert_eq!(node.rejected(token), 0);
        token.unlock();
        node.set_pin(PIN);
        node.log_in().unwrap();
    });
}

#[test]
fn a_login_that_was_there_already_checks_no_pin() {
    alone::run(|token| {
        token.set("login already");
        let node = Node::new(token, "node", "0000");
        assert_eq!(node.log_in().unwrap(), LoginProof::Assumed);
        // No verdict about the PIN: it is still unproven.
        token.set("pin locks 10 silent");
        assert_eq!(node.rejected(token), 1);
        assert_eq!(node.waits.get(), 2);
    });
}

#[test]
fn a_pin_is_not_tried_while_its_rejection_could_not_be_remembered() {
    alone::run(|token| {
        let node = Node::new(token, "node", "0000");
        let refused = |node: &Node| {
            let failure = node.log_in().unwrap_err();
            assert!(
                !failure.pin_rejected && failure.error.chain().contains("is not tried"),
                "{failure:?}"
            );
        };
        std::fs::create_dir(node.state.join("pins.json.lock")).unwrap();
        refused(&node);
        refused(&node);
        assert_eq!(token.calls("C_Login"), 0);
        std::fs::remove_dir(node.state.join("pins.json.lock")).unwrap();
        assert_eq!(node.rejected(token), 1);
    });
}

#[test]
fn a_rejection_that_cannot_be_written_down_holds_the_process_until_it_is() {
    alone::run(|token| {
        let node = Node::new(token, "node", PIN);
        node.log_in().unwrap();
        // The token has another PIN now, and the disk is full.
        node.change_pin_of_token("4321");
        let lock = node.state.join("pins.json.lock");
        std::fs::remove_file(&lock).unwrap();
        std::fs::create_dir(&lock).unwrap();
        node.waits.set(0);
        let failure = node
            .log_in_while(&|| {
                if node.waits.get() == 3 {
                    std::fs::remove_dir(&lock).unwrap();
                }
            })
            .unwrap_err();
        assert!(failure.pin_rejected);
        assert_eq!(node.waits.get(), 3);
        assert_eq!(node.told.borrow().len(), 3);
        assert_eq!(node.rejected(token), 0);
    });
}

#[test]
fn a_damaged_memory_is_set_aside_and_costs_one_try() {
    alone::run(|token| {
        token.set("pin locks 10 silent");
        let node = Node::new(token, "node", "0000");
        assert_eq!(node.rejected(token), 1);
        files::replace(&node.state.join("pins.json"), b"{").unwrap();
        assert_eq!(node.rejected(token), 1);
        assert_eq!(node.rejected(token), 0);
        assert!(node.state.join("pins.json.damaged").exists());
    });
}

#[test]
fn at_a_pin_pad_nobody_is_asked_when_a_flag_warns() {
    alone::run(|token| {
        token.set("pin locks 3\nprotected-path 1234");
        let mut node = Node::new(token, "node", "");
        node.assignment.options.login = Login::ProtectedPath;
        assert_eq!(node.log_in().unwrap(), LoginProof::Confirmed);
        assert!(
            node.told
                .borrow()
                .iter()
                .any(|told| told.starts_with("type the PIN at the device"))
        );
        let around = [AT_THE_DEVICE, Duration::ZERO];
        assert!(node.busy.borrow().windows(2).any(|pair| pair == around));
        node.spend("0000");
        assert_eq!(node.rejected(token), 0);
    });
}

#[test]
fn a_user_type_of_the_vendors_logs_in_with_its_pin() {
    alone::run(|token| {
        token.set("vendor-user 0x80000001");
        let mut node = Node::new(token, "node", PIN);
        node.assignment.options.login = Login::Vendor(0x8000_0001);
        assert_eq!(node.log_in().unwrap(), LoginProof::Confirmed);
    });
}

impl Node {
    /// Another program tries a PIN and does not look at flags.
    fn spend(&self, pin: &str) {
        self.as_somebody_else(|session| {
            let pin = RawAuthPin::new(Box::new(pin.as_bytes().to_vec()));
            session.login_with_raw(UserType::User, &pin).unwrap_err();
        });
    }

    fn change_pin_of_token(&self, to: &str) {
        self.as_somebody_else(|session| {
            let pin = |pin: &str| cryptoki::types::AuthPin::new(pin.into());
            session.login(UserType::User, Some(&pin(PIN))).unwrap();
            session.set_pin(&pin(PIN), &pin(to)).unwrap();
        });
    }

    fn as_somebody_else(&self, work: impl FnOnce(&Session)) {
        let module = Module::load(&self.assignment.options.module).unwrap();
        let (slot, _) = find_token(&module, &self.assignment.options.token).unwrap();
        let session = module.open(slot, true).unwrap();
        work(&session);
        drop(session);
        module.finalize().unwrap();
    }
}
