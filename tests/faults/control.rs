//! The control socket of a live daemon, in the hands of an attacker who can send any message.

use std::io::ErrorKind;
use std::io::IoSlice;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use dekhand::backend::pkcs11::ipc::ProtocolError;
use dekhand::backend::pkcs11::ipc::frame;
use dekhand::backend::pkcs11::ipc::frame::Frame;
use dekhand::backend::pkcs11::ipc::message::FromWorker;
use dekhand::backend::pkcs11::ipc::message::ToSpawner;
use rustix::fs::OFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::SocketType;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;
use serde::Serialize;

use support::daemon::Daemon;
use support::daemon::HANG;

/// A duplicate of the daemon's end of the control socket.
pub(crate) struct Control(OwnedFd);

impl Control {
    /// Takes it out of a daemon, as code inside that daemon could. `None` without root's capabilities.
    pub(crate) fn of(daemon: &Daemon) -> Option<Self> {
        let id = daemon.child.id();
        let pidfd = rustix::process::pidfd_open(pid(id), PidfdFlags::empty()).unwrap();
        for entry in Path::new(&format!("/proc/{id}/fd")).read_dir().ok()? {
            let number = entry.unwrap().file_name().to_str().unwrap().parse().unwrap();
            // It may have been closed since.
            let Ok(fd) = rustix::process::pidfd_getfd(&pidfd, number, PidfdGetfdFlags::empty()) else {
                continue;
            };
            if rustix::net::sockopt::socket_type(&fd) == Ok(SocketType::SEQPACKET) {
                // The daemon has made it non-blocking, and does not use it to send.
                rustix::fs::fcntl_setfl(&fd, OFlags::empty()).unwrap();
                return Some(Self(fd));
            }
        }
        panic!("the daemon has no control socket");
    }

    /// Sends a message to the spawner, with the end of a channel if there is one.
    pub(crate) fn say(&self, message: &impl Serialize, channel: Option<&UnixStream>) {
        let frame = Frame::of(message).unwrap();
        let descriptors: Vec<_> = channel.iter().map(|channel| channel.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        }
        rustix::net::sendmsg(
            &self.0,
            &[IoSlice::new(frame.message())],
            &mut ancillary,
            SendFlags::NOSIGNAL,
        )
        .unwrap();
    }

    /// Requests a worker, and returns this end of its channel.
    pub(crate) fn start(&self, worker: u64, index: u32) -> UnixStream {
        self.start_with(&ToSpawner::Start { worker, index })
    }

    /// The same by a message that no daemon sends.
    pub(crate) fn start_with(&self, message: &impl Serialize) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(HANG)).unwrap();
        self.say(message, Some(&theirs));
        ours
    }

    /// Requests the end of a worker.
    pub(crate) fn kill(&self, worker: u64) {
        self.say(&ToSpawner::Kill { worker }, None);
    }
}

pub(crate) fn pid(process: u32) -> Pid {
    Pid::from_raw(i32::try_from(process).unwrap()).unwrap()
}

/// Sends a message as the daemon would. A worker that has ended does not get it.
pub(crate) fn write(mut channel: &UnixStream, message: &impl Serialize) {
    match channel.write_all(Frame::of(message).unwrap().as_bytes()) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}"),
    }
}

/// The worker's next message that is not an event; `None` after its last one.
pub(crate) fn read(channel: &UnixStream) -> Option<FromWorker> {
    loop {
        match frame::read(channel) {
            Ok(FromWorker::Event { .. }) => {}
            Ok(message) => return Some(message),
            Err(ProtocolError::Channel(error)) => {
                let ended = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
                assert!(ended.contains(&error.kind()), "{error}");
                return None;
            }
            Err(error) => panic!("{error}"),
        }
    }
}
