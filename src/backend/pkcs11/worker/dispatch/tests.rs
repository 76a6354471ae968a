//! A worker's promises about a failing token: calls and answers as the daemon sees them, with SoftHSM.

mod ciphertexts;
mod missing;
mod proofs;
mod proofs_later;
mod recovery;
mod strangers;
mod throttled;

use std::collections::HashMap;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use cryptoki::context::Pkcs11;
use cryptoki::object::KeyType;
use token_shim::alone;
use token_shim::token::PIN;
use token_shim::token::Token;

use super::*;
use crate::backend::pkcs11::ipc::frame;
use crate::backend::pkcs11::ipc::message::FromWorker;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::worker::channel::Outlet;
use crate::clock::Clock;
use crate::clock::Timestamp;
use crate::files;
use crate::hardening::LockMemory;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::version::Version;
use crate::secret::Key;
use crate::token::assignment::Assignment;
use crate::token::assignment::Role;
use crate::token::module::Module;
use crate::token::pin::PinSource;
use crate::token::pin_history::PinRecord;
use crate::token::session::find_token;
use crate::token::test_token;

/// An answer that takes longer never comes.
const LONGEST: Duration = Duration::from_secs(60);

fn v1() -> KeyId {
    [1; 16].as_slice().try_into().unwrap()
}

fn key(byte: u8) -> Key {
    Key::copied_from(&[byte; 32]).unwrap()
}

/// A token with the first version of a root key.
fn plant(token: &Token) {
    let session = test_token::session();
    test_token::plant(&session, "kube.v1@20260301T1200Z", v1().as_bytes(), KeyType::AES, 32);
    drop(session);
    // It has left the module initialised.
    Pkcs11::new(token_shim::path()).unwrap().finalize().unwrap();
    token.forget_calls();
}

/// An assignment; the PIN is recorded as one that has worked.
fn assignment(token: &Token) -> Assignment {
    let state = token.path("state");
    files::private_directory(&state).unwrap();
    let file = state.join("pin");
    files::replace(&file, PIN.as_bytes()).unwrap();
    let mut options = test_token::options();
    options.pin = Some(PinSource::File(file));
    Assignment {
        role: Role::Daemon,
        root_key: "kube".parse().unwrap(),
        options,
        state: Some(state),
        memory: 1 << 30,
        lock_memory: LockMemory::Off,
    }
}

fn know_the_pin(assignment: &Assignment) -> PinRecord {
    let Assignment { options, state, .. } = assignment;
    let module = Module::load(&options.module).unwrap();
    let (_, info) = find_token(&module, &options.token).unwrap();
    module.finalize().unwrap();
    let record = PinRecord::quick(state.as_ref().unwrap());
    let pin = options.pin.as_ref().unwrap().read().unwrap();
    record.note_worked(&info.name(), &pin).unwrap();
    record
}

/// Runs with a clock that the test controls.
fn with_turned_clock<F: Future<Output = ()>>(test: impl FnOnce(Clock) -> F) {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_time().start_paused(true).build().unwrap();
    runtime.block_on(async { test(Clock::turned(Timestamp::from_unix(0))).await });
}

async fn after(seconds: u64) {
    tokio::time::advance(Duration::from_secs(seconds)).await;
}

/// A worker in this process, with a thread for each session.
struct Worker {
    service: Arc<Service>,
    threads: Vec<JoinHandle<()>>,
    heard: mpsc::Receiver<FromWorker>,
    answers: HashMap<u64, Result<Outcome, Failure>>,
    /// Its lines for the daemon's log.
    told: Vec<String>,
    /// The calls that it has announced as paused.
    waited: Vec<u64>,
    number: u64,
}

impl Worker {
    /// At a token that [`plant`] has prepared.
    fn start(token: &Token) -> Self {
        Self::with(token, |_| {}, Clock::system())
    }

    /// The same with other options.
    fn with(token: &Token, change: impl FnOnce(&mut Assignment), clock: Clock) -> Self {
        let mut assignment = assignment(token);
        change(&mut assignment);
        let record = know_the_pin(&assignment);
        token.forget_calls();
        let (ours, theirs) = UnixStream::pair().unwrap();
        let sessions = usize::from(assignment.options.sessions);
        let service = Arc::new(Service::with(assignment, Outlet::new(theirs), clock, Some(record)));
        let threads = (0..sessions).map(|session_index| {
            let service = service.clone();
            std::thread::spawn(move || service.run(session_index))
        });
        let mut threads: Vec<JoinHandle<()>> = threads.collect();
        let making = service.clone();
        threads.push(std::thread::spawn(move || making.proofs.make_proofs()));
        let (hear, heard) = mpsc::channel();
        std::thread::spawn(move || {
            while let Ok(message) = frame::read(&ours) {
                hear.send(message).ok();
            }
        });
        Self {
            service,
            threads,
            heard,
            answers: HashMap::new(),
            told: Vec::new(),
            waited: Vec::new(),
            number: 0,
        }
    }

    /// Begins a call.
    fn begin(&mut self, call: Call) -> u64 {
        self.number += 1;
        let number = self.number;
        self.service.queue.push(Job::new(number, call));
        number
    }

    /// The answer to a call.
    fn answer(&mut self, number: u64) -> Result<Outcome, Failure> {
        loop {
            if let Some(answer) = self.answers.remove(&number) {
                return answer;
            }
            match self.heard.recv_timeout(LONGEST).expect("an answer") {
                FromWorker::Answer(answer) => {
                    self.answers.insert(answer.number, answer.result);
                }
                FromWorker::Event { message, .. } => self.told.push(message),
                FromWorker::ExtendDeadline(more) => {
                    if let Paused::Call(number) = more.of {
                        self.waited.push(number);
                    }
                }
                _ => {}
            }
        }
    }

    fn call(&mut self, call: Call) -> Result<Outcome, Failure> {
        let number = self.begin(call);
        self.answer(number)
    }

    /// Also waits for the proofs that are made after the answer.
    fn wrap(&mut self, byte: u8) -> Result<Wrapped, Failure> {
        let (id, data_key) = (v1(), key(byte));
        let done = self.call(Call::Wrap { id, data_key });
        self.service.proofs.until_made();
        done.map(|outcome| match outcome {
            Outcome::Wrapped(wrapped) => wrapped,
            other => panic!("{other:?}"),
        })
    }

    fn unwrap(&mut self, wrapped: &Wrapped) -> Result<u8, Failure> {
        self.call(unwrap(wrapped)).map(|outcome| first_byte(&outcome))
    }

    fn find(&mut self, expected: &[KeyId]) -> Result<Vec<Version>, Failure> {
        let expected = expected.to_vec();
        self.call(Call::Find { expected }).map(|outcome| match outcome {
            Outcome::Listed(versions, _) => versions,
            other => panic!("{other:?}"),
        })
    }

    /// Pretends that the token last worked long ago: a failure may be that of a broken one.
    fn forget_work(&self) {
        self.service.activity.forget();
    }

    /// Makes a call in this thread, and returns the answer; a worker that would end does not.
    fn call_here(&self, call: Call) -> Result<Outcome, Failure> {
        let step = self
            .service
            .call_with_recovery(0, &Job::new(0, call), OnBadCiphertext::Suspect);
        self.service.proofs.until_made();
        match step {
            JobOutcome::Answered(result) => result,
            JobOutcome::Doubtful { doubt, .. } => panic!("{doubt:?}"),
            JobOutcome::Underway { left, .. } => panic!("{left} are left"),
        }
    }

    /// The steps of recovery since the last question.
    fn steps(&mut self) -> Vec<&'static str> {
        let steps = [
            RecoveryStep::Session,
            RecoveryStep::Login,
            RecoveryStep::Module,
            RecoveryStep::Worker,
        ]
        .map(describe);
        let of = |told: &String| steps.into_iter().find(|step| told.ends_with(step));
        let taken = self.told.iter().filter_map(of).collect();
        self.told.clear();
        taken
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        self.service.queue.close();
        self.service.proofs.close();
        // A call without an answer may never end.
        if std::thread::panicking() {
            return;
        }
        for thread in self.threads.drain(..) {
            thread.join().ok();
        }
        self.service.sessions.disconnect();
    }
}

fn unwrap(wrapped: &Wrapped) -> Call {
    Call::Unwrap {
        id: v1(),
        wrapped: wrapped.clone(),
    }
}

fn first_byte(outcome: &Outcome) -> u8 {
    match outcome {
        Outcome::DataKey(key) => *key.expose().first().unwrap(),
        other => panic!("{other:?}"),
    }
}

/// Another wrapped key, which opens under no version.
fn forged(wrapped: &Wrapped, at: usize) -> Wrapped {
    let mut forged = wrapped.clone();
    let (byte, bit) = (at / 8 % forged.bytes.len(), at % 8);
    *forged.bytes.get_mut(byte).unwrap() ^= 1 << bit;
    forged
}
