//! The control socket of a live daemon, in the hands of an attacker who can send any message.

use std::io::ErrorKind;
use std::io::IoSlice;
use std::io::Read as _;
use std::io::Write as _;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;

use dekhand::proto::token_worker as wire;
use dekhand::proto::token_worker::from_worker::What;
use prost::Message;
use rustix::fs::OFlags;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::SocketType;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::PidfdGetfdFlags;

use support::daemon::Daemon;
use support::daemon::HANG;

/// A message to the spawner, with fields that no daemon sends.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ToSpawner {
    #[prost(uint64, tag = "1")]
    pub(crate) worker: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) start: Option<StartWorker>,
    #[prost(message, optional, tag = "3")]
    pub(crate) kill: Option<KillWorker>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct StartWorker {
    #[prost(message, repeated, tag = "1")]
    pub(crate) environment: Vec<Variable>,
    #[prost(uint32, tag = "2")]
    pub(crate) index: u32,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Variable {
    #[prost(string, tag = "1")]
    pub(crate) name: String,
    #[prost(string, tag = "2")]
    pub(crate) value: String,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct KillWorker {}

/// A message to a worker that gives it an assignment.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct StartOnChannel {
    #[prost(uint64, tag = "1")]
    pub(crate) number: u64,
    #[prost(message, optional, tag = "2")]
    pub(crate) start: Option<Start>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Start {
    #[prost(string, tag = "1")]
    pub(crate) build: String,
    #[prost(bytes = "vec", tag = "2")]
    pub(crate) assignment: Vec<u8>,
}

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
    pub(crate) fn say(&self, message: &ToSpawner, channel: Option<&UnixStream>) {
        let bytes = message.encode_to_vec();
        let descriptors: Vec<_> = channel.iter().map(|channel| channel.as_fd()).collect();
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        if !descriptors.is_empty() {
            assert!(ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)));
        }
        rustix::net::sendmsg(&self.0, &[IoSlice::new(&bytes)], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
    }

    /// Requests a worker, and returns this end of its channel.
    pub(crate) fn start(&self, worker: u64, start: StartWorker) -> UnixStream {
        let (ours, theirs) = UnixStream::pair().unwrap();
        ours.set_read_timeout(Some(HANG)).unwrap();
        let start = Some(start);
        let message = ToSpawner {
            worker,
            start,
            kill: None,
        };
        self.say(&message, Some(&theirs));
        ours
    }

    /// Requests the end of a worker.
    pub(crate) fn kill(&self, worker: u64) {
        let kill = Some(KillWorker {});
        let message = ToSpawner {
            worker,
            start: None,
            kill,
        };
        self.say(&message, None);
    }
}

pub(crate) fn pid(process: u32) -> Pid {
    Pid::from_raw(i32::try_from(process).unwrap()).unwrap()
}

/// Sends a message as the daemon would. A worker that has ended does not get it.
pub(crate) fn write(mut channel: &UnixStream, message: &impl Message) {
    let bytes = message.encode_to_vec();
    let length = u32::try_from(bytes.len()).unwrap().to_be_bytes();
    match channel.write_all(&[&length, bytes.as_slice()].concat()) {
        Ok(()) => {}
        Err(error) => assert_eq!(error.kind(), ErrorKind::BrokenPipe, "{error}"),
    }
}

/// The worker's next message that is not an event; `None` after its last one.
pub(crate) fn read(mut channel: &UnixStream) -> Option<What> {
    loop {
        let mut length = [0; 4];
        match channel.read_exact(&mut length) {
            Ok(()) => {}
            Err(error) => {
                let ended = [ErrorKind::UnexpectedEof, ErrorKind::ConnectionReset];
                assert!(ended.contains(&error.kind()), "{error}");
                return None;
            }
        }
        let mut bytes = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap()];
        channel.read_exact(&mut bytes).unwrap();
        match wire::FromWorker::decode(bytes.as_slice()).unwrap().what.unwrap() {
            What::Event(_) => {}
            what => return Some(what),
        }
    }
}
