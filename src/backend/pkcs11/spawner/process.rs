//! The spawner itself: one thread that starts workers, kills them and buries them.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::process::Command;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use prost::Message as _;
use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::SocketType;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;

use super::LONGEST;
use crate::backend::pkcs11::own_process;
use crate::backend::pkcs11::protocol::frame;
use crate::proto::token_worker as wire;
use crate::proto::token_worker::to_spawner::What;

/// So long may workers take to leave their token when the daemon is gone, and so long the kernel to bury them.
const GRACE: Duration = Duration::from_secs(1);
/// So many that were killed may hang in the kernel. Each keeps its memory, and the next one hangs in the same place.
const MOST_UNDEAD: usize = 4;

/// Whether stdin is the control socket of a daemon, and not somebody's terminal.
pub(crate) fn is_called() -> bool {
    rustix::net::sockopt::socket_type(io::stdin()).is_ok_and(|kind| kind == SocketType::SEQPACKET)
}

/// Serves the daemon at the other end of stdin until that is gone, however it went.
pub(crate) fn main() -> ExitCode {
    let stop = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
    let served = own_process::prepare(c"dekhand-spawner", &stop).and_then(|()| serve(io::stdin().as_fd()));
    // The daemon sees it at the end of the control socket; nobody else listens.
    served.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

fn serve(control: BorrowedFd<'_>) -> io::Result<()> {
    let mut workers = Vec::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        let heard = wait(Some(control), &mut workers, None)?;
        if !heard {
            continue;
        }
        match receive(control, &mut buffer)? {
            Heard::Nothing => {}
            Heard::End => break,
            Heard::Message(message, channel) => match (message.what, channel) {
                (Some(What::Start(start)), Some(channel)) => {
                    let started = start_worker(message.worker, &start, channel, &workers);
                    workers.extend(started);
                }
                (Some(What::Kill(_)), _) => {
                    let killed = workers.iter_mut().filter(|worker| worker.number == message.worker);
                    killed.for_each(Worker::kill);
                }
                (Some(What::Start(_)) | None, _) => {}
            },
        }
    }
    end(workers);
    Ok(())
}

/// A worker that has not been waited for: its process id, and so that of its group, is nobody else's.
struct Worker {
    number: u64,
    process: Child,
    /// Readable when the process has ended.
    pidfd: OwnedFd,
    /// When it was first killed.
    killed: Option<Instant>,
}

impl Worker {
    fn kill(&mut self) {
        self.killed.get_or_insert_with(Instant::now);
        // There may be nobody left.
        rustix::process::kill_process_group(Pid::from_child(&self.process), Signal::KILL).ok();
    }
}

/// Waits for a message or the end of a worker. Those that ended are buried, after everything that they have started.
fn wait(control: Option<BorrowedFd<'_>>, workers: &mut Vec<Worker>, limit: Option<Duration>) -> io::Result<bool> {
    let limit = limit.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    let (heard, mut ended) = {
        let pidfds = workers.iter().map(|worker| worker.pidfd.as_fd());
        let mut polled: Vec<_> = control
            .into_iter()
            .chain(pidfds)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match rustix::event::poll(&mut polled, limit.as_ref()) {
            // A signal that is for the daemon.
            Err(rustix::io::Errno::INTR) => return Ok(false),
            polled => polled?,
        };
        let mut ready = polled.iter().map(|fd| !fd.revents().is_empty());
        let heard = control.is_some() && ready.next() == Some(true);
        (heard, ready.collect::<Vec<_>>().into_iter())
    };
    workers.retain_mut(|worker| {
        let ended = ended.next() == Some(true);
        if ended {
            worker.kill();
            worker.process.wait().ok();
        }
        !ended
    });
    Ok(heard)
}

enum Heard {
    Nothing,
    Message(wire::ToSpawner, Option<OwnedFd>),
    End,
}

fn receive(control: BorrowedFd<'_>, buffer: &mut [u8]) -> io::Result<Heard> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = RecvFlags::CMSG_CLOEXEC | RecvFlags::DONTWAIT;
    let received = rustix::net::recvmsg(control, &mut [IoSliceMut::new(buffer)], &mut ancillary, flags);
    let length = match received {
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => return Ok(Heard::Nothing),
        received => received?.bytes,
    };
    let channel = ancillary.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    match buffer.get(..length) {
        // No message is empty.
        None | Some([]) => Ok(Heard::End),
        Some(message) => Ok(Heard::Message(wire::ToSpawner::decode(message)?, channel)),
    }
}

/// Starts a worker, or tells the daemon on its channel why there is none.
fn start_worker(number: u64, start: &wire::StartWorker, channel: OwnedFd, others: &[Worker]) -> Option<Worker> {
    let channel_of_worker = may_start(others).and_then(|()| channel.try_clone());
    let started = channel_of_worker.and_then(|stdin| spawn(number, start, stdin));
    match started {
        Ok(worker) => Some(worker),
        Err(error) => {
            let what = Some(wire::from_worker::What::NotStarted(error.to_string()));
            // Few bytes into an empty socket: it does not block. If the daemon has gone on, it need not know.
            frame::write(UnixStream::from(channel), &wire::FromWorker { what }).ok();
            None
        }
    }
}

/// A process in an uninterruptible call of the kernel outlives SIGKILL: a device, or a directory on a network, that does
/// not answer.
fn may_start(workers: &[Worker]) -> io::Result<()> {
    let is_undead = |worker: &&Worker| worker.killed.is_some_and(|killed| killed.elapsed() > GRACE);
    let undead = workers
        .iter()
        .filter(is_undead)
        .map(|worker| worker.process.id().to_string());
    let undead: Vec<_> = undead.collect();
    if undead.len() < MOST_UNDEAD {
        return Ok(());
    }
    Err(io::Error::other(format!(
        "{} token workers can't be killed: their device hangs in the kernel; look at the kernel's log and at \
         /proc/PID/stack of {}",
        undead.len(),
        undead.join(", ")
    )))
}

fn spawn(number: u64, start: &wire::StartWorker, stdin: OwnedFd) -> io::Result<Worker> {
    let mut command = Command::new("/proc/self/exe");
    for (name, _) in env::vars_os().filter(|(name, _)| is_for_the_daemon(name)) {
        command.env_remove(&name);
    }
    let mut process = command
        .arg0("dekhand")
        .args(["token-worker", "--parent", &std::process::id().to_string()])
        .envs(
            start
                .environment
                .iter()
                .map(|variable| (&variable.name, &variable.value)),
        )
        .stdin(stdin)
        .process_group(0)
        .spawn()?;
    let pid = i32::try_from(process.id()).ok().and_then(Pid::from_raw);
    let pidfd = pid
        .ok_or_else(|| io::ErrorKind::InvalidData.into())
        .and_then(|pid| Ok(rustix::process::pidfd_open(pid, PidfdFlags::empty())?));
    match pidfd {
        Ok(pidfd) => Ok(Worker {
            number,
            process,
            pidfd,
            killed: None,
        }),
        Err(error) => {
            // It has just begun: this does not take long.
            process.kill().and_then(|()| process.wait()).ok();
            Err(error)
        }
    }
}

/// What a service manager tells the daemon is not for the vendor's module.
fn is_for_the_daemon(variable: &OsStr) -> bool {
    let name = variable.as_encoded_bytes();
    name == b"NOTIFY_SOCKET" || name.starts_with(b"LISTEN_") || name.starts_with(b"WATCHDOG_")
}

/// The daemon is gone. Workers see that at their channels and leave; those that can't are killed.
fn end(mut workers: Vec<Worker>) {
    linger(&mut workers);
    workers.iter_mut().for_each(Worker::kill);
    // A process that hangs in the kernel is not waited for.
    linger(&mut workers);
}

fn linger(workers: &mut Vec<Worker>) {
    let until = Instant::now() + GRACE;
    while !workers.is_empty() {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() || wait(None, workers, Some(left)).is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;
    use std::process::Stdio;

    use super::*;

    fn worker(number: u64, process: Child) -> Worker {
        let pidfd = rustix::process::pidfd_open(Pid::from_child(&process), PidfdFlags::empty()).unwrap();
        Worker {
            number,
            process,
            pidfd,
            killed: None,
        }
    }

    #[test]
    fn what_a_worker_has_started_ends_with_it() {
        let mut process = Command::new("sh")
            .args(["-c", "sleep 1000 & exit 0"])
            .stdout(Stdio::piped())
            .process_group(0)
            .spawn()
            .unwrap();
        let mut output = process.stdout.take().unwrap();
        let mut workers = vec![worker(0, process)];
        while !workers.is_empty() {
            wait(None, &mut workers, None).unwrap();
        }
        // Whoever lived would hold the pipe.
        assert_eq!(output.read(&mut [0]).unwrap(), 0);
    }

    /// No group of processes is its own, so it survives what kills workers, as one does that hangs in the kernel. It ends
    /// when its stdin is closed, with this test at the latest.
    fn undead(number: u64) -> Worker {
        let mut command = Command::new("cat");
        let process = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut worker = worker(number, process);
        worker.kill();
        worker
    }

    #[test]
    fn workers_that_cannot_be_killed_do_not_pile_up() {
        let mut workers: Vec<_> = (0..4).map(undead).collect();
        may_start(&workers).unwrap();
        let long_ago = Instant::now().checked_sub(2 * GRACE);
        for worker in &mut workers {
            worker.killed = long_ago;
        }
        let (ours, theirs) = UnixStream::pair().unwrap();
        let start = wire::StartWorker::default();
        assert!(start_worker(4, &start, theirs.into(), &workers).is_none());
        let message: wire::FromWorker = frame::read(&ours).unwrap();
        let Some(wire::from_worker::What::NotStarted(reason)) = &message.what else {
            panic!("started");
        };
        let pid = workers.first().unwrap().process.id().to_string();
        assert!(
            reason.starts_with("4 token workers can't be killed") && reason.contains(&pid),
            "{reason}"
        );
        // The device has answered one of them.
        drop(workers.last_mut().unwrap().process.stdin.take());
        while workers.len() == 4 {
            wait(None, &mut workers, None).unwrap();
        }
        may_start(&workers).unwrap();
        for mut worker in workers {
            // Closes its stdin.
            worker.process.wait().unwrap();
        }
    }

    #[test]
    fn a_service_managers_words_are_for_the_daemon_alone() {
        for name in ["NOTIFY_SOCKET", "LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC"] {
            assert!(is_for_the_daemon(OsStr::new(name)));
        }
        for name in ["PATH", "CREDENTIALS_DIRECTORY", "SOFTHSM2_CONF"] {
            assert!(!is_for_the_daemon(OsStr::new(name)));
        }
    }
}
