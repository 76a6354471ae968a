//! Workers for tests: tasks at the other ends of channels, with switches for the behaviour of real workers.

use std::collections::BTreeMap;
use std::collections::VecDeque;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::io::DuplexStream;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;
use tokio::time::Instant;

use crate::backend::pkcs11::ipc::BUILD;
use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::frame;
use crate::backend::pkcs11::ipc::frame::Frame;
use crate::backend::pkcs11::ipc::message::Answer;
use crate::backend::pkcs11::ipc::message::ExtendDeadline;
use crate::backend::pkcs11::ipc::message::FromWorker;
use crate::backend::pkcs11::ipc::message::Outcome;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::backend::pkcs11::ipc::message::ToWorker;
use crate::backend::pkcs11::spawner::WorkerNumber;
use crate::backend::pkcs11::supervisor::StartWorkers;
use crate::backend::pkcs11::supervisor::WorkerChannel;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::secret::Key;
use crate::token::problem::Failure;

/// The behaviour of a worker in a call.
#[derive(Clone, Debug, Default)]
pub(super) enum Conduct {
    /// It answers.
    #[default]
    Good,
    /// It answers after this time.
    Slow(Duration),
    /// It reports a pause of this length, of one call or of all, and then answers.
    Wait { time: Duration, all: bool },
    /// It reports a pause of all calls, reports its end after a shorter time, and answers.
    Hold { told: Duration, time: Duration },
    /// It reports progress this many times, then answers.
    Signs { every: Duration, times: u32 },
    /// It never answers.
    Hang,
    /// It dies.
    Die,
    /// It answers with an error.
    Fail(Failure),
}

/// The behaviour of a worker at its start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Manners {
    #[default]
    Good,
    Silent,
    OtherBuild,
    NotStarted,
}

/// Starts tasks instead of processes. Clones share their state.
#[derive(Clone, Debug, Default)]
pub(super) struct FakeWorkers(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
pub(super) struct Inner {
    pub(super) manners: Manners,
    /// The behaviour in `Open` of every worker.
    pub(super) opening: Conduct,
    /// The behaviour in the next calls, of any worker; later calls are answered.
    pub(super) calls: VecDeque<Conduct>,
    /// The memory of a worker at its start in bytes, which is also its growth with each call.
    pub(super) memory: u64,
    pub(super) growth: u64,
    /// The time that a worker takes to leave after its channel was closed.
    pub(super) goodbye: Duration,
    /// The starts of workers.
    pub(super) started: Vec<Instant>,
    /// The workers that were killed while they ran.
    pub(super) killed: Vec<u64>,
    /// The worker of each call that was begun.
    pub(super) begun: Vec<u64>,
    pub(super) in_flight: usize,
    pub(super) most_in_flight: usize,
    /// The most workers that ran at the same time.
    pub(super) most_living: usize,
    living: BTreeMap<u64, AbortHandle>,
}

pub(super) fn outage(message: &str) -> Failure {
    Error::new(Kind::Outage, message).into()
}

impl FakeWorkers {
    pub(super) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap()
    }

    /// Sets the behaviour in the next calls.
    pub(super) fn script(&self, calls: impl IntoIterator<Item = Conduct>) {
        self.lock().calls.extend(calls);
    }

    /// Workers that have not ended.
    pub(super) fn living(&self) -> Vec<u64> {
        let inner = self.lock();
        let living = inner.living.iter().filter(|(_, task)| !task.is_finished());
        living.map(|(number, _)| *number).collect()
    }
}

impl StartWorkers for FakeWorkers {
    fn start_worker(&self) -> io::Result<(WorkerChannel, WorkerNumber)> {
        let (ours, theirs) = tokio::io::duplex(1 << 16);
        let mut inner = self.lock();
        let number = inner.started.len() as u64;
        inner.started.push(Instant::now());
        let worker = Worker {
            number,
            workers: self.clone(),
        };
        // A worker ends with its channel, as a process would.
        inner.living.insert(
            number,
            tokio::spawn(async move {
                let goodbye = worker.workers.lock().goodbye;
                worker.run(theirs).await.unwrap_or(());
                tokio::time::sleep(goodbye).await;
            })
            .abort_handle(),
        );
        let living = inner.living.values().filter(|task| !task.is_finished()).count();
        inner.most_living = inner.most_living.max(living);
        Ok((Box::new(ours), WorkerNumber::of_test(number)))
    }

    fn kill(&self, worker: WorkerNumber) -> io::Result<()> {
        let mut inner = self.lock();
        let number = worker.number();
        if let Some(task) = inner.living.remove(&number).filter(|task| !task.is_finished()) {
            task.abort();
            inner.killed.push(number);
        }
        Ok(())
    }
}

#[derive(Clone)]
struct Worker {
    number: u64,
    workers: FakeWorkers,
}

struct Ended;

impl<E: std::error::Error> From<E> for Ended {
    fn from(_: E) -> Self {
        Self
    }
}

impl Worker {
    async fn run(self, channel: DuplexStream) -> Result<(), Ended> {
        let (mut from, mut to) = tokio::io::split(channel);
        let manners = self.workers.lock().manners;
        let build = match manners {
            Manners::Good => BUILD,
            Manners::OtherBuild => "0.0.0+0",
            Manners::Silent => std::future::pending().await,
            Manners::NotStarted => return say(&mut to, &FromWorker::NotStarted("out of memory".to_owned())).await,
        };
        say(
            &mut to,
            &FromWorker::Hello {
                build: build.to_owned(),
                warnings: Vec::new(),
            },
        )
        .await?;
        let (answer, mut answers) = mpsc::unbounded_channel::<Option<FromWorker>>();
        let read = async {
            loop {
                let message = frame::receive(&mut from).await?;
                tokio::spawn(self.clone().serve(message, answer.clone()));
            }
        };
        let write = async {
            while let Some(Some(answer)) = answers.recv().await {
                say(&mut to, &answer).await?;
            }
            Ok(())
        };
        tokio::select! {
            end = read => end,
            end = write => end,
        }
    }

    /// Sends the answer, or none to end the worker.
    async fn serve(self, message: ToWorker<Call>, answer: mpsc::UnboundedSender<Option<FromWorker>>) {
        let ToWorker { number, call } = message;
        let opens = matches!(call, Call::Open);
        let (conduct, memory) = {
            let mut inner = self.workers.lock();
            if opens {
                (inner.opening.clone(), inner.memory)
            } else {
                inner.in_flight += 1;
                inner.most_in_flight = inner.most_in_flight.max(inner.in_flight);
                inner.begun.push(self.number);
                let own = inner.begun.iter().filter(|worker| **worker == self.number).count() as u64;
                let memory = inner.memory + inner.growth * own;
                (inner.calls.pop_front().unwrap_or_default(), memory)
            }
        };
        let result = match conduct {
            Conduct::Good => Some(Ok(outcome(&call))),
            Conduct::Slow(time) => {
                tokio::time::sleep(time).await;
                Some(Ok(outcome(&call)))
            }
            Conduct::Wait { time, all } => {
                let of = if all { Paused::All } else { Paused::Call(number) };
                answer.send(Some(more(of, time))).ok();
                tokio::time::sleep(time).await;
                Some(Ok(outcome(&call)))
            }
            Conduct::Hold { told, time } => {
                answer.send(Some(more(Paused::All, told))).ok();
                tokio::time::sleep(time).await;
                answer.send(Some(more(Paused::All, Duration::ZERO))).ok();
                Some(Ok(outcome(&call)))
            }
            Conduct::Signs { every, times } => {
                for _ in 0..times {
                    tokio::time::sleep(every).await;
                    answer.send(Some(more(Paused::Call(number), Duration::ZERO))).ok();
                }
                Some(Ok(outcome(&call)))
            }
            Conduct::Hang => None,
            Conduct::Die => {
                answer.send(None).ok();
                None
            }
            Conduct::Fail(failure) => Some(Err(failure)),
        };
        if !opens {
            self.workers.lock().in_flight -= 1;
        }
        if let Some(result) = result {
            let message = FromWorker::Answer(Answer { number, memory, result });
            answer.send(Some(message)).ok();
        }
    }
}

fn more(of: Paused, pause: Duration) -> FromWorker {
    FromWorker::ExtendDeadline(ExtendDeadline { of, pause })
}

async fn say(to: &mut (impl AsyncWrite + Unpin), message: &FromWorker) -> Result<(), Ended> {
    Ok(frame::send(to, &Frame::of(message)?).await?)
}

fn outcome(call: &Call) -> Outcome {
    match call {
        Call::Find { .. } => Outcome::Versions(Vec::new()),
        Call::Unwrap { .. } => Outcome::DataKey(Key::random().unwrap()),
        _ => Outcome::Done,
    }
}
