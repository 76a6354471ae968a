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

use crate::backend::pkcs11::ipc::ProtocolError;
use crate::backend::pkcs11::ipc::frame;
use crate::backend::pkcs11::ipc::message::Answer;
use crate::backend::pkcs11::ipc::message::ExtendDeadline;
use crate::backend::pkcs11::ipc::message::FromWorker;
use crate::backend::pkcs11::ipc::message::Level;
use crate::backend::pkcs11::ipc::message::Paused;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;

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

    /// Sends the build, and the protections that this process does without.
    pub(super) fn hello(&self, build: &str, warnings: Vec<String>) -> Result<(), ProtocolError> {
        let build = build.to_owned();
        self.write(&FromWorker::Hello { build, warnings })
    }

    /// Sends the reason why this process cannot start.
    pub(super) fn not_started(&self, reason: String) {
        self.write(&FromWorker::NotStarted(reason)).ok();
    }

    /// Sends an answer, with the current memory of this process. An answer that is too long is replaced by an error:
    /// without any answer the daemon would take this process for one that hangs.
    pub(super) fn answer(&self, answer: Answer) {
        let Answer { number, memory, .. } = answer;
        if let Err(error @ ProtocolError::TooLong(_)) = self.write(&FromWorker::Answer(answer)) {
            let told =
                Error::new(Kind::Outage, "the answer of the token worker is too long for a message").because(error);
            let result = Err(told.into());
            self.write(&FromWorker::Answer(Answer { number, memory, result })).ok();
        }
    }

    /// A line for the daemon's log.
    pub(super) fn say(&self, level: Level, message: impl Into<String>) {
        let message = message.into();
        self.write(&FromWorker::Event { level, message }).ok();
    }

    /// Announces a pause of calls. Their time limits restart after it; with a pause of zero, at once.
    pub(super) fn extend_deadline(&self, of: Paused, pause: Duration) {
        let more = ExtendDeadline { of, pause };
        self.write(&FromWorker::ExtendDeadline(more)).ok();
    }

    fn write(&self, message: &FromWorker) -> Result<(), ProtocolError> {
        let channel = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        frame::write(&*channel, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::pkcs11::ipc::message::Outcome;
    use crate::root_key::Wrapped;
    use crate::root_key::mechanism::Mechanism;

    #[test]
    fn an_answer_that_is_too_long_is_told_and_not_left_out() {
        let (ours, theirs) = UnixStream::pair().unwrap();
        let wrapped = Wrapped {
            mechanism: Mechanism::AesGcm,
            bytes: vec![0; 2 << 20],
        };
        Outlet::new(theirs).answer(Answer {
            number: 7,
            memory: 0,
            result: Ok(Outcome::Wrapped(wrapped)),
        });
        let FromWorker::Answer(answer) = frame::read(&ours).unwrap() else {
            panic!("no answer");
        };
        assert_eq!(answer.number, 7);
        assert!(
            answer.result.unwrap_err().error.chain().contains("2097"),
            "says how long"
        );
    }
}
