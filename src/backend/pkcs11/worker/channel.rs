//! The worker's side of the channel: calls come in on one thread, answers go out from all.

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

/// How much an event matters, as the daemon's log knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Level {
    Error = 1,
    Warn = 2,
    Info = 3,
    Debug = 4,
}

/// The channel that was handed over as stdin. What comes after finds stdin empty: a module must not read our calls.
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

/// The way out. One that fails is not reported to anybody: the daemon is gone, and the reading thread sees it too.
#[derive(Debug)]
pub(super) struct Outlet(Mutex<UnixStream>);

impl Outlet {
    pub(super) fn new(channel: UnixStream) -> Self {
        Self(Mutex::new(channel))
    }

    /// Who we are, and why our memory is not kept from swap, if that was tried in vain.
    pub(super) fn hello(&self, build: &str, not_locked: Option<String>) -> Result<(), ProtocolError> {
        let hello = wire::Hello {
            build: build.to_owned(),
            not_locked: not_locked.unwrap_or_default(),
        };
        self.write(&wire::FromWorker {
            what: Some(wire::from_worker::What::Hello(hello)),
        })
    }

    /// Why this process can't come to work.
    pub(super) fn not_started(&self, reason: String) {
        let what = Some(wire::from_worker::What::NotStarted(reason));
        self.write(&wire::FromWorker { what }).ok();
    }

    /// An answer, with the memory that this process has now. One that no message can hold is told as that: a caller
    /// without an answer would take this process for one that hangs.
    pub(super) fn answer(&self, answer: &Answer) {
        if let Err(error @ ProtocolError::TooLong(_)) = self.write(&answer.to_wire()) {
            let told = Error::new(Kind::Outage, "the token has more to tell than can be passed on").because(error);
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

    /// A call waits of our own will for so long; its time begins anew behind that.
    pub(super) fn waiting(&self, number: u64, pause: Duration) {
        self.tell_of_waiting(number, pause, false);
    }

    /// The same for every call that this worker has begun: none can go on before this one does.
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
