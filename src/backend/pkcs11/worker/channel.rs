//! The worker's side of the channel: one thread reads calls, all threads write answers.

use std::io;
use std::os::fd::AsFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;

use rustix::fs::FileType;
use rustix::fs::Mode;
use rustix::fs::OFlags;

use crate::backend::pkcs11::protocol::ProtocolError;
use crate::backend::pkcs11::protocol::frame;
use crate::backend::pkcs11::protocol::outcome::Answer;
use crate::proto::token_worker as wire;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;

/// The level of an event in the daemon's log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
}

/// Takes the channel from stdin, and leaves stdin empty: a module must not read the calls.
pub(super) fn take_stdin() -> io::Result<UnixStream> {
    let stdin = io::stdin();
    let kind = FileType::from_raw_mode(rustix::fs::fstat(&stdin)?.st_mode);
    if kind != FileType::Socket {
        return Err(io::Error::other("stdin is no socket"));
    }
    let channel: OwnedFd = stdin.as_fd().try_clone_to_owned()?;
    let nothing = rustix::fs::open("/dev/null", OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    rustix::stdio::dup2_stdin(nothing)?;
    Ok(channel.into())
}

/// The writing side. Its failure is not reported: the daemon is gone, and the reading thread notices that too.
#[derive(Debug)]
pub(super) struct Outlet(Mutex<UnixStream>);

impl Outlet {
    pub(super) fn new(channel: UnixStream) -> Self {
        Self(Mutex::new(channel))
    }

    /// Sends the build, and why memory is not kept from swap, if locking failed.
    pub(super) fn hello(&self, build: &str, not_locked: Option<String>) -> Result<(), ProtocolError> {
        let hello = wire::Hello {
            build: build.to_owned(),
            not_locked: not_locked.unwrap_or_default(),
        };
        self.write(&wire::FromWorker {
            what: Some(wire::from_worker::What::Hello(hello)),
        })
    }

    /// Sends the reason why this process cannot start.
    pub(super) fn not_started(&self, reason: String) {
        let what = Some(wire::from_worker::What::NotStarted(reason));
        self.write(&wire::FromWorker { what }).ok();
    }

    /// Sends an answer, with the current memory of this process. An answer that is too long is replaced by an error:
    /// without any answer the daemon would take this process for one that hangs.
    pub(super) fn answer(&self, answer: &Answer) {
        if let Err(error @ ProtocolError::TooLong(_)) = self.write(&answer.to_wire()) {
            let told =
                Error::new(Kind::Outage, "the answer of the token worker is too long for a message").because(error);
            let Answer { number, memory, .. } = *answer;
            let result = Err(told.into());
            self.write(&Answer { number, memory, result }.to_wire()).ok();
        }
    }

    /// A line for the daemon's log.
    pub(super) fn say(&self, level: Level, message: impl Into<String>) {
        let message = message.into();
        let event = wire::Event {
            level: level as u32,
            message,
        };
        let what = Some(wire::from_worker::What::Event(event));
        self.write(&wire::FromWorker { what }).ok();
    }

    /// Announces a pause of a call; its time limit restarts after the pause.
    pub(super) fn waiting(&self, number: u64, pause: Duration) {
        self.tell_of_waiting(number, pause, false);
    }

    /// Announces a pause of all calls of this worker: none can continue before this one does.
    pub(super) fn everybody_waits(&self, number: u64, pause: Duration) {
        self.tell_of_waiting(number, pause, true);
    }

    fn tell_of_waiting(&self, number: u64, pause: Duration, everybody: bool) {
        let milliseconds = u32::try_from(pause.as_millis()).unwrap_or(u32::MAX);
        let waiting = wire::Waiting {
            number,
            milliseconds,
            everybody,
        };
        let what = Some(wire::from_worker::What::Waiting(waiting));
        self.write(&wire::FromWorker { what }).ok();
    }

    fn write(&self, message: &wire::FromWorker) -> Result<(), ProtocolError> {
        let channel = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame::write(&*channel, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::pkcs11::protocol::outcome::Outcome;

    #[test]
    fn an_answer_that_is_too_long_is_told_and_not_left_out() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        Outlet::new(theirs).answer(&Answer {
            number: 7,
            memory: 0,
            result: Ok(Outcome::Report(vec![0; 2 << 20])),
        });
        let message: wire::FromWorker = frame::read(&ours).unwrap();
        let Some(wire::from_worker::What::Answer(answer)) = message.what else {
            panic!("no answer");
        };
        let answer = Answer::from_wire(answer).unwrap();
        assert_eq!(answer.number, 7);
        assert!(
            answer.result.unwrap_err().error.chain().contains("2097"),
            "says how long"
        );
    }
}
