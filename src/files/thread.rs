//! A thread that touches files, so that no serving thread ever waits for a disk.

use std::io;
use std::sync::mpsc;
use std::thread;

use tokio::sync::oneshot;

type Job = Box<dyn FnOnce() + Send>;

/// Runs jobs one after the other on one thread. Cheap to clone; the thread ends with the last clone.
#[derive(Clone, Debug)]
pub struct FileThread(Place);

#[derive(Clone, Debug)]
enum Place {
    Thread(mpsc::Sender<Job>),
    Caller,
}

/// The file thread is gone: a job of it panicked.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the file thread has stopped")]
pub struct Stopped;

impl FileThread {
    /// Starts the thread.
    ///
    /// # Errors
    /// The operating system has no thread to give.
    pub fn start() -> io::Result<Self> {
        let (sender, jobs) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("files".into())
            .spawn(move || jobs.into_iter().for_each(|job| job()))?;
        Ok(Self(Place::Thread(sender)))
    }

    /// Runs every job at once where it is asked for: for commands, which serve nobody, and for tests that turn time.
    pub fn in_place() -> Self {
        Self(Place::Caller)
    }

    /// Runs `job` and waits for what it returns.
    ///
    /// # Cancel safety
    /// A job that was handed over runs to its end; its result is lost.
    ///
    /// # Errors
    /// The thread has stopped.
    pub async fn run<T: Send + 'static>(&self, job: impl FnOnce() -> T + Send + 'static) -> Result<T, Stopped> {
        let Place::Thread(sender) = &self.0 else {
            return Ok(job());
        };
        let (answer, answered) = oneshot::channel();
        // A caller that went away does not want the answer.
        sender
            .send(Box::new(move || drop(answer.send(job()))))
            .map_err(|_| Stopped)?;
        answered.await.map_err(|_| Stopped)
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
