//! Callers that never pause, and the results of their calls.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use dekhand::proto::v2::EncryptResponse;

use support::calls::Kms;
use support::calls::until;

/// The pause between two calls of one caller.
const PACE: Duration = Duration::from_millis(5);

/// Holds a load back between two of its calls.
#[derive(Debug, Default)]
pub(crate) struct Pause {
    wanted: Cell<bool>,
    in_flight: Cell<bool>,
}

impl Pause {
    /// Stops the load from beginning calls, and returns when its last call has been answered.
    pub(crate) async fn begin(&self) {
        self.wanted.set(true);
        until("the last call before the pause is answered", || !self.in_flight.get()).await;
    }

    /// Lets the load continue.
    pub(crate) fn end(&self) {
        self.wanted.set(false);
    }
}

/// The results of the callers so far. All but the first field are about failed calls.
#[derive(Debug, Default)]
pub(crate) struct Met {
    pub(crate) calls: Cell<usize>,
    /// Reads under data keys in the daemon's memory.
    pub(crate) cached_reads: Cell<usize>,
    pub(crate) writes: Cell<usize>,
    pub(crate) statuses: Cell<usize>,
    /// Reads that need the token.
    pub(crate) token_reads: Cell<usize>,
    /// The starts of reads that the token has answered.
    answered: RefCell<Vec<(Instant, Instant)>>,
}

impl Met {
    fn count<T>(&self, failures: &Cell<usize>, answer: &Result<T, tonic::Status>) {
        self.calls.set(self.calls.get() + 1);
        failures.set(failures.get() + usize::from(answer.is_err()));
    }

    /// The number of reads that the token has answered so far.
    pub(crate) fn answered(&self) -> usize {
        self.answered.borrow().len()
    }

    /// The time from `moment` to the end of the first call that began later and was answered by the token.
    pub(crate) fn answered_after(&self, moment: Instant) -> Option<Duration> {
        let answered = self.answered.borrow();
        let (_, end) = answered.iter().find(|(begin, _)| *begin > moment)?;
        Some(*end - moment)
    }
}

/// Calls Status, Encrypt and Decrypt in turn, for ever.
pub(crate) async fn in_memory(kms: Kms, sealed: EncryptResponse, met: Rc<Met>) {
    loop {
        met.count(&met.cached_reads, &kms.decrypt(&sealed).await);
        met.count(&met.writes, &kms.encrypt().await);
        met.count(&met.statuses, &kms.status().await);
        tokio::time::sleep(PACE).await;
    }
}

/// Reads payloads that need the token, one after the other, each until it opens; begins none during a pause.
pub(crate) async fn from_token(kms: Kms, stock: Vec<EncryptResponse>, pause: Rc<Pause>, met: Rc<Met>) {
    for sealed in stock {
        loop {
            tokio::time::sleep(PACE * 4).await;
            if pause.wanted.get() {
                continue;
            }
            let begin = Instant::now();
            pause.in_flight.set(true);
            let answer = kms.decrypt(&sealed).await;
            pause.in_flight.set(false);
            met.count(&met.token_reads, &answer);
            if answer.is_ok() {
                met.answered.borrow_mut().push((begin, Instant::now()));
                break;
            }
        }
    }
    panic!("the stock is used up");
}
