//! A thread for file operations, so that no serving thread waits for a disk.

use std::fmt;
use std::io;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use tokio::sync::oneshot;

type FileJob = Box<dyn FnOnce() + Send>;

/// Runs jobs one after another on one thread. Cheap to clone; the thread ends with the last clone.
#[derive(Clone, Debug)]
pub struct FileThread(Runner);

#[derive(Clone, Debug)]
enum Runner {
    Thread(mpsc::Sender<FileJob>),
    Caller,
    Turned(Arc<Disk>),
}

/// A slow disk, timed by tokio's clock, for tests.
#[derive(Debug)]
struct Disk {
    takes: Arc<dyn Takes>,
    /// One job after another, as on the thread.
    turn: tokio::sync::Mutex<()>,
}

/// The time that a job takes if it begins now, by tokio's clock.
trait Takes: Fn() -> Duration + Send + Sync {}

impl<F: Fn() -> Duration + Send + Sync> Takes for F {}

impl fmt::Debug for dyn Takes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Takes")
    }
}

/// A job that panics, whatever file caused it, must not end the thread. Its result channel is dropped with it.
fn run_unharmed(job: FileJob) {
    // The panic hook has logged it.
    std::panic::catch_unwind(AssertUnwindSafe(job)).ok();
}

/// A disk that takes longer counts as unavailable; a network file system can hang for ever.
const LIMIT: Duration = Duration::from_secs(10);

/// A job did not return a result.
#[derive(Clone, Copy, Debug, thiserror::Error)]
pub enum NoAnswer {
    /// The job panicked.
    #[error("a job on the file thread failed; this is a defect, please report it")]
    Failed,
    /// The disk hangs; the job continues.
    #[error("the disk did not respond within {} s", LIMIT.as_secs())]
    Slow,
}

impl FileThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system cannot start a thread.
    pub fn start() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<FileJob>();
        thread::Builder::new()
            .name("files".into())
            .spawn(move || jobs.into_iter().for_each(run_unharmed))?;
        Ok(Self(Runner::Thread(sender)))
    }

    /// Runs every job at once on the calling thread: for commands, which have no callers, and for tests with paused
    /// time.
    pub fn in_place() -> Self {
        Self(Runner::Caller)
    }

    /// Simulates a slow disk by tokio's clock: each job runs after the time that `takes` returns when the job begins.
    pub fn turned(takes: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self(Runner::Turned(Arc::new(Disk {
            takes: Arc::new(takes),
            turn: tokio::sync::Mutex::default(),
        })))
    }

    /// Runs `job` and waits for its result.
    ///
    /// # Cancel safety
    /// A job that was handed over still runs to its end; its result is lost.
    ///
    /// # Errors
    /// The job panics, or takes longer than 10 s.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, NoAnswer> {
        let (answer, answered) = oneshot::channel();
        match &self.0 {
            Runner::Caller => return Ok(job()),
            // If the caller has gone, sending fails and the result is dropped.
            Runner::Thread(sender) => sender
                .send(Box::new(move || drop(answer.send(job()))))
                .map_err(|_| NoAnswer::Failed)?,
            Runner::Turned(disk) => {
                let disk = disk.clone();
                tokio::spawn(async move {
                    let _turn = disk.turn.lock().await;
                    tokio::time::sleep((disk.takes)()).await;
                    drop(answer.send(job()));
                });
            }
        }
        match tokio::time::timeout(LIMIT, answered).await {
            Ok(answer) => answer.map_err(|_| NoAnswer::Failed),
            Err(_) => Err(NoAnswer::Slow),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn jobs_run_elsewhere_and_answer() {
        let files = FileThread::start().unwrap();
        let here = thread::current().id();
        assert_ne!(files.run(|| thread::current().id()).await.unwrap(), here);
        assert_eq!(
            FileThread::in_place().run(|| thread::current().id()).await.unwrap(),
            here
        );
    }
}
