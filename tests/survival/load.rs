//! Callers that never pause, and what they met.

use std::cell::Cell;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use std::time::Instant;

use dekhand::proto::v2::EncryptResponse;

use crate::calls::Kms;

/// Between two calls of one caller.
const PACE: Duration = Duration::from_millis(5);

/// What callers met so far. All of it is about calls that failed, but for the first.
#[derive(Debug, Default)]
pub(crate) struct Met {
    pub(crate) calls: Cell<usize>,
    /// Reads under data keys that the daemon has in memory.
    pub(crate) cached_reads: Cell<usize>,
    pub(crate) writes: Cell<usize>,
    pub(crate) statuses: Cell<usize>,
    /// Reads that need the token.
    pub(crate) token_reads: Cell<usize>,
    /// When those began that the token has answered.
    answered: RefCell<Vec<(Instant, Instant)>>,
}

impl Met {
    fn count<T>(&self, failures: &Cell<usize>, answer: &Result<T, tonic::Status>) {
        self.calls.set(self.calls.get() + 1);
        failures.set(failures.get() + usize::from(answer.is_err()));
    }

    /// How long after `moment` the first call ended that the token answered and that was begun after it.
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

/// Reads one payload after the other that the daemon needs the token for, each until it opens; waits while `pause` says
/// so.
pub(crate) async fn from_token(kms: Kms, stock: Vec<EncryptResponse>, pause: Rc<Cell<bool>>, met: Rc<Met>) {
    for sealed in stock {
        loop {
            tokio::time::sleep(PACE * 4).await;
            if pause.get() {
                continue;
            }
            let begin = Instant::now();
            let answer = kms.decrypt(&sealed).await;
            met.count(&met.token_reads, &answer);
            if answer.is_ok() {
                met.answered.borrow_mut().push((begin, Instant::now()));
                break;
            }
        }
    }
    panic!("the stock is used up");
}
