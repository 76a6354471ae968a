//! Carries messages to and from one worker, whatever their content.

use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::backend::pkcs11::ipc::ProtocolError;
use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::frame;
use crate::backend::pkcs11::ipc::frame::Frame;
use crate::backend::pkcs11::ipc::message::Answer;
use crate::backend::pkcs11::ipc::message::ExtendDeadline;
use crate::backend::pkcs11::ipc::message::FromWorker;
use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::ipc::message::ToWorker;
use crate::backend::pkcs11::spawner::WorkerNumber;
use crate::backend::pkcs11::supervisor::WorkerChannel;

/// Something that arrived from a worker.
#[derive(Debug)]
pub(super) enum Heard {
    Answer(Answer),
    Event(Level, String),
    ExtendDeadline(ExtendDeadline),
    /// No more messages will arrive.
    Lost(ProtocolError),
}

/// A worker's channel with a task that reads and writes it. Closed when this is dropped.
#[derive(Debug)]
pub(super) struct Link {
    outgoing: mpsc::Sender<Result<Frame, ProtocolError>>,
    task: AbortHandle,
}

impl Link {
    /// Takes a channel. At most `most` messages may wait to be written.
    pub(super) fn new(
        worker: WorkerNumber,
        channel: WorkerChannel,
        most: usize,
        heard: mpsc::Sender<(WorkerNumber, Heard)>,
    ) -> Self {
        let (outgoing, to_write) = mpsc::channel(most);
        let task = tokio::spawn(async move {
            let error = carry(worker, channel, to_write, &heard).await;
            // If the receiver is gone, the error is of no use.
            heard.send((worker, Heard::Lost(error))).await.ok();
        });
        Self {
            outgoing,
            task: task.abort_handle(),
        }
    }

    /// Sends a call. If that fails, the loss of the worker is reported separately.
    pub(super) fn send(&self, number: u64, call: &Call) {
        self.outgoing.try_send(Frame::of(&ToWorker { number, call })).ok();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    worker: WorkerNumber,
    channel: WorkerChannel,
    to_write: mpsc::Receiver<Result<Frame, ProtocolError>>,
    heard: &mpsc::Sender<(WorkerNumber, Heard)>,
) -> ProtocolError {
    let (mut from, to) = tokio::io::split(channel);
    let read = async {
        loop {
            let message = match frame::receive(&mut from).await {
                Ok(message) => understand(message),
                Err(error) => return error,
            };
            match message {
                Ok(message) => drop(heard.send((worker, message)).await),
                Err(error) => return error,
            }
        }
    };
    tokio::select! {
        error = read => error,
        error = write(to, to_write) => error,
    }
}

async fn write(
    mut to: impl AsyncWrite + Unpin,
    mut frames: mpsc::Receiver<Result<Frame, ProtocolError>>,
) -> ProtocolError {
    while let Some(frame) = frames.recv().await {
        let sent = match frame {
            Ok(frame) => frame::send(&mut to, &frame).await,
            Err(error) => Err(error),
        };
        if let Err(error) = sent {
            return error;
        }
    }
    // The sender is gone; dropping it ends this task too.
    std::future::pending().await
}

fn understand(message: FromWorker) -> Result<Heard, ProtocolError> {
    match message {
        FromWorker::Answer(answer) => Ok(Heard::Answer(answer)),
        FromWorker::Event { level, message } => Ok(Heard::Event(level, message)),
        FromWorker::ExtendDeadline(more) => Ok(Heard::ExtendDeadline(more)),
        FromWorker::Hello { .. } | FromWorker::NotStarted(_) => Err(ProtocolError::Unexpected),
    }
}
