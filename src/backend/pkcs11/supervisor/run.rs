//! The task that decides which worker serves, and when another one is started.

use std::fmt;
use std::io::ErrorKind;
use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::backend::pkcs11::assignment::Assignment;
use crate::backend::pkcs11::protocol::ProtocolError;
use crate::backend::pkcs11::protocol::outcome::Answer;
use crate::backend::pkcs11::protocol::outcome::Failure;
use crate::backend::pkcs11::spawner::WorkerNumber;
use crate::backend::pkcs11::supervisor::GRACE;
use crate::backend::pkcs11::supervisor::StartWorkers;
use crate::backend::pkcs11::supervisor::attempts::Attempts;
use crate::backend::pkcs11::supervisor::journal::Journal;
use crate::backend::pkcs11::supervisor::journal::Reason;
use crate::backend::pkcs11::supervisor::link::Heard;
use crate::backend::pkcs11::supervisor::open::NotOpened;
use crate::backend::pkcs11::supervisor::open::Opened;
use crate::backend::pkcs11::supervisor::open::open;
use crate::backend::pkcs11::supervisor::open::pause;
use crate::backend::pkcs11::supervisor::post::Limits;
use crate::backend::pkcs11::supervisor::post::Post;
use crate::backend::pkcs11::supervisor::queue::Queue;
use crate::backend::pkcs11::supervisor::queue::Request;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::telemetry::metrics::Metrics;

type Attempt = Pin<Box<dyn Future<Output = Result<Opened, NotOpened>> + Send>>;

/// What workers say waits here; a worker that says much waits itself.
const HEARD: usize = 16;

/// All that the task owns.
pub(super) struct Supervision {
    workers: Arc<dyn StartWorkers>,
    assignment: Arc<Assignment>,
    limits: Limits,
    journal: Journal,
    requests: mpsc::Receiver<Request>,
    queue: Queue,
    /// Begins every new call.
    current: Option<Post>,
    /// Those that have a successor and finish what they have begun.
    retiring: Vec<Post>,
    /// Those that are to end by themselves until then.
    leaving: Vec<(Instant, WorkerNumber)>,
    next: Next,
    attempts: Attempts,
    /// Why a token that has rejected its PIN is not asked again for everybody who calls.
    rejected: Option<Error>,
    heard: mpsc::Receiver<(WorkerNumber, Heard)>,
    hear: mpsc::Sender<(WorkerNumber, Heard)>,
}

/// The worker after the current one.
enum Next {
    /// Is not needed. -> `Wanted`
    Unwanted,
    /// Is started when its time has come. -> `Coming`
    Wanted(Reason),
    /// Is being started. -> `Unwanted` if it opens its token, else `Wanted`
    Coming(Reason, Attempt),
}

impl Supervision {
    pub(super) fn new(
        workers: Box<dyn StartWorkers>,
        assignment: Assignment,
        metrics: Metrics,
        requests: mpsc::Receiver<Request>,
    ) -> Self {
        let limits = Limits {
            sessions: usize::from(assignment.options.sessions.max(1)),
            memory: assignment.memory,
            call_timeout: assignment.options.call_timeout,
        };
        let (hear, heard) = mpsc::channel(HEARD);
        Self {
            workers: workers.into(),
            journal: Journal::new(assignment.root_key.clone(), metrics),
            assignment: Arc::new(assignment),
            limits,
            requests,
            queue: Queue::default(),
            current: None,
            retiring: Vec::new(),
            leaving: Vec::new(),
            next: Next::Wanted(Reason::Start),
            attempts: Attempts::new(Instant::now()),
            rejected: None,
            heard,
            hear,
        }
    }

    /// Runs until nobody can call any more. Workers that are left then see their channels close.
    pub(super) async fn run(mut self) {
        loop {
            self.begin_calls();
            let due = self.due();
            tokio::select! {
                request = self.requests.recv() => match request {
                    Some(request) => self.take(request),
                    None => return,
                },
                Some((worker, heard)) = self.heard.recv() => self.hear(worker, heard),
                (reason, opened) = self.next.opened() => self.opened(reason, opened),
                () = sleep_until(due) => self.act(Instant::now()),
            }
        }
    }

    /// Takes a call.
    fn take(&mut self, request: Request) {
        match &self.rejected {
            Some(error) if self.current.is_none() => request.answer(Err(error.clone())),
            _ => self.queue.push(request),
        }
    }

    fn begin_calls(&mut self) {
        let Some(post) = &mut self.current else {
            return;
        };
        while post.is_free(self.limits) {
            match self.queue.next() {
                Some(request) => post.begin(request, self.limits),
                None => return,
            }
        }
    }

    /// When something is to be done by itself.
    fn due(&self) -> Option<Instant> {
        let attempt = match self.next {
            Next::Wanted(_) => Some(self.attempts.due(self.current.is_none() && self.queue.is_waited_for())),
            Next::Unwanted | Next::Coming(..) => None,
        };
        let calls = self.posts().filter_map(Post::until);
        let leaving = self.leaving.iter().map(|(until, _)| *until);
        calls.chain(leaving).chain(attempt).min()
    }

    fn posts(&self) -> impl Iterator<Item = &Post> {
        self.current.iter().chain(&self.retiring)
    }

    fn post(&mut self, worker: WorkerNumber) -> Option<&mut Post> {
        let mut posts = self.current.iter_mut().chain(&mut self.retiring);
        posts.find(|post| post.worker == worker)
    }

    /// Does what is due.
    fn act(&mut self, now: Instant) {
        let over: Vec<_> = self.leaving.extract_if(.., |(until, _)| *until <= now).collect();
        for (_, worker) in over {
            self.kill(worker, now);
        }
        let hung: Vec<_> = self
            .posts()
            .filter(|post| post.until().is_some_and(|until| until <= now))
            .map(|post| post.worker)
            .collect();
        for worker in hung {
            self.hung(worker, now);
        }
        let waited_for = self.current.is_none() && self.queue.is_waited_for();
        if let Next::Wanted(reason) = self.next
            && self.attempts.due(waited_for) <= now
        {
            self.journal.starting(reason);
            let (workers, assignment) = (self.workers.clone(), self.assignment.clone());
            let attempt = open(workers, assignment, self.journal.events().clone());
            self.next = Next::Coming(reason, Box::pin(attempt));
        }
    }

    /// A worker was started, and serves or not.
    fn opened(&mut self, reason: Reason, opened: Result<Opened, NotOpened>) {
        let now = Instant::now();
        match opened {
            Ok(opened) => {
                self.next = Next::Unwanted;
                self.rejected = None;
                self.journal.opened(reason, opened.memory);
                let post = Post::new(opened, self.limits, self.hear.clone());
                self.retiring.extend(self.current.replace(post));
                self.dismiss_idle(now);
            }
            Err(NotOpened { failure, worker, hangs }) => {
                self.next = Next::Wanted(reason);
                if let Some(worker) = worker {
                    self.leaving.push((if hangs { now } else { now + GRACE }, worker));
                }
                self.journal.not_opened(&failure.error);
                self.attempts.failed(now);
                self.note_pin(&failure);
                self.answer_who_waits(&failure.error);
            }
        }
    }

    /// Who waits for a worker has waited for this. With one that still serves nobody does.
    fn answer_who_waits(&mut self, error: &Error) {
        if self.current.is_none() {
            self.queue.answer_all(error);
        }
    }

    fn note_pin(&mut self, failure: &Failure) {
        self.rejected = failure.pin_rejected.then(|| failure.error.clone());
        if failure.pin_rejected {
            self.journal.pin_rejected(true);
            self.answer_who_waits(&failure.error);
        }
    }

    fn hear(&mut self, worker: WorkerNumber, heard: Heard) {
        match heard {
            Heard::Event(event) => self.journal.events().tell(&event),
            Heard::Answer(answer) => self.answered(worker, answer),
            Heard::Waiting(waiting) => {
                let limits = self.limits;
                if let Some(post) = self.post(worker) {
                    post.wait(waiting.number, pause(&waiting), limits);
                }
            }
            Heard::Lost(error) => {
                let message = match &error {
                    ProtocolError::Channel(error) if error.kind() == ErrorKind::UnexpectedEof => {
                        Error::new(Kind::Outage, "the token worker has died")
                    }
                    _ => Error::new(Kind::Outage, "the token worker can't be understood").because(error),
                };
                self.lost(worker, Reason::Died, &message, Instant::now());
            }
        }
    }

    fn answered(&mut self, worker: WorkerNumber, answer: Answer) {
        let now = Instant::now();
        let Answer { number, memory, result } = answer;
        let is_current = self.current.as_ref().is_some_and(|post| post.worker == worker);
        let Some(post) = self.post(worker) else {
            // It was lost before this was heard.
            return;
        };
        let Some(request) = post.done(number) else {
            let error = Error::new(Kind::Outage, "the token worker answered what it was not asked");
            self.lost(worker, Reason::Died, &error, now);
            return;
        };
        let is_too_large = is_current && post.is_too_large(memory);
        let failure = result.as_ref().err().cloned();
        let error = failure.as_ref().map(|failure| &failure.error);
        self.journal.called(&request.call, error.map_or(Ok(()), Err));
        // A wrapped key that is bad is proof that the root key works.
        let good = error.is_none_or(|error| error.kind() == Kind::BadInput);
        request.answer(result.map_err(|failure| failure.error));
        if is_current {
            self.journal.memory(memory);
        }
        match failure {
            Some(failure) if failure.ends_worker => {
                self.lost(worker, Reason::Asked, &failure.error, now);
                if is_current {
                    self.note_pin(&failure);
                }
                return;
            }
            Some(failure) if failure.pin_rejected => self.journal.pin_rejected(true),
            _ => {}
        }
        if !is_current {
            self.dismiss_idle(now);
        } else if matches!(self.next, Next::Unwanted) {
            if good {
                self.attempts.succeeded();
            }
            if is_too_large {
                self.journal.too_large(memory, self.limits.memory);
                self.next = Next::Wanted(Reason::Memory);
            }
        }
    }

    /// A call has taken too long: only this worker's end helps.
    fn hung(&mut self, worker: WorkerNumber, now: Instant) {
        let limit = self.limits.call_timeout;
        let error = Error::new(Kind::Outage, format!("the token did not answer within {limit:?}"));
        let overdue = self.post(worker).map(|post| post.take_overdue(now));
        for request in overdue.into_iter().flatten() {
            self.journal.called(&request.call, Err(&error));
            request.answer(Err(error.clone()));
        }
        self.lost(worker, Reason::Hung, &error, now);
    }

    /// A worker is no use any more. What it had begun is repeated if it can be.
    fn lost(&mut self, worker: WorkerNumber, reason: Reason, cause: &Error, now: Instant) {
        let is_current = self.current.as_ref().is_some_and(|post| post.worker == worker);
        let post = if is_current {
            self.current.take()
        } else {
            let place = self.retiring.iter().position(|post| post.worker == worker);
            place.map(|place| self.retiring.swap_remove(place))
        };
        let Some(post) = post else {
            return;
        };
        let begun = post.leave();
        for request in &begun {
            self.journal.called(&request.call, Err(cause));
        }
        self.queue
            .put_back(begun.into_iter().filter_map(|request| request.survive(cause)).collect());
        // One that asked ends by itself, and its token is better left than lost.
        match reason {
            Reason::Asked => self.leaving.push((now + GRACE, worker)),
            _ => self.kill(worker, now),
        }
        if is_current {
            self.journal.lost(reason, cause);
            // One that comes already comes in its place.
            if !matches!(self.next, Next::Coming(..)) {
                self.attempts.failed(now);
                self.next = Next::Wanted(reason);
            }
        }
    }

    /// Lets those go that have finished what they had begun.
    fn dismiss_idle(&mut self, now: Instant) {
        let until = now + self.limits.call_timeout;
        for post in self.retiring.extract_if(.., |post| post.is_idle()) {
            self.leaving.push((until, post.worker));
        }
    }

    fn kill(&mut self, worker: WorkerNumber, now: Instant) {
        // A spawner that does not read now may do so later; one that is gone has taken its workers along.
        if self
            .workers
            .kill(worker)
            .is_err_and(|error| error.kind() == ErrorKind::WouldBlock)
        {
            self.leaving.push((now + GRACE, worker));
        }
    }
}

impl Next {
    /// The worker that comes, when it has.
    async fn opened(&mut self) -> (Reason, Result<Opened, NotOpened>) {
        match self {
            Self::Coming(reason, attempt) => (*reason, attempt.await),
            Self::Unwanted | Self::Wanted(_) => std::future::pending().await,
        }
    }
}

impl fmt::Debug for Supervision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Supervision").finish_non_exhaustive()
    }
}

async fn sleep_until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due).await,
        None => std::future::pending().await,
    }
}
