//! Carries messages to and from one worker, whatever their content.

use tokio::io::AsyncWrite;
use tokio::sync::mpsc;
use tokio::task::AbortHandle;

use crate::backend::pkcs11::protocol::ProtocolError;
use crate::backend::pkcs11::protocol::frame;
use crate::backend::pkcs11::protocol::outcome::Answer;
use crate::backend::pkcs11::spawner::WorkerNumber;
use crate::backend::pkcs11::supervisor::Channel;
use crate::proto::token_worker as wire;
use crate::proto::token_worker::from_worker::What;

/// Something that arrived from a worker.
#[derive(Debug)]
pub(super) enum Heard {
    Answer(Answer),
    Event(wire::Event),
    /// The worker has paused a call on purpose.
    Waiting(wire::Waiting),
    /// No more messages will arrive.
    Lost(ProtocolError),
}

/// A worker's channel with a task that reads and writes it. Closed when this is dropped.
#[derive(Debug)]
pub(super) struct Link {
    outgoing: mpsc::Sender<wire::ToWorker>,
    task: AbortHandle,
}

impl Link {
    /// Takes a channel. At most `most` messages may wait to be written.
    pub(super) fn new(
        worker: WorkerNumber,
        channel: Channel,
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

    /// Sends a message. If that fails, the loss of the worker is reported separately.
    pub(super) fn send(&self, message: wire::ToWorker) {
        self.outgoing.try_send(message).ok();
    }
}

impl Drop for Link {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn carry(
    worker: WorkerNumber,
    channel: Channel,
    to_write: mpsc::Receiver<wire::ToWorker>,
    heard: &mpsc::Sender<(WorkerNumber, Heard)>,
) -> ProtocolError {
    let (mut from, to) = tokio::io::split(channel);
    let read = async {
        loop {
            let message = match frame::receive::<wire::FromWorker>(&mut from).await {
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

async fn write(mut to: impl AsyncWrite + Unpin, mut messages: mpsc::Receiver<wire::ToWorker>) -> ProtocolError {
    while let Some(message) = messages.recv().await {
        if let Err(error) = frame::send(&mut to, &message).await {
            return error;
        }
    }
    // The sender is gone; dropping it ends this task too.
    std::future::pending().await
}

fn understand(mut message: wire::FromWorker) -> Result<Heard, ProtocolError> {
    match message.what.take() {
        Some(What::Answer(answer)) => Ok(Heard::Answer(Answer::from_wire(answer)?)),
        Some(What::Event(event)) => Ok(Heard::Event(event)),
        Some(What::Waiting(waiting)) => Ok(Heard::Waiting(waiting)),
        Some(What::Hello(_) | What::NotStarted(_)) | None => Err(ProtocolError::Field("what")),
    }
}
