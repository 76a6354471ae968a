//! The spawner process: one thread that starts, kills and reaps workers.

mod child;
mod limits;
mod orphans;

use std::io;
use std::io::IoSliceMut;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::fd::BorrowedFd;
use std::os::fd::OwnedFd;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::net::RecvAncillaryBuffer;
use rustix::net::RecvAncillaryMessage;
use rustix::net::RecvFlags;
use rustix::net::SendFlags;
use rustix::net::SocketType;
use rustix::process::Signal;

use crate::backend::pkcs11::handover;
use crate::backend::pkcs11::ipc::frame;
use crate::backend::pkcs11::ipc::frame::Frame;
use crate::backend::pkcs11::ipc::message::FromWorker;
use crate::backend::pkcs11::ipc::message::ToSpawner;
use crate::backend::pkcs11::own_process;
use crate::backend::pkcs11::spawner::process::child::Worker;
use crate::backend::pkcs11::spawner::process::limits::Pace;
use crate::token::assignment::Assignment;

/// The time for workers to leave their token after the daemon is gone, and for the kernel to end killed ones.
const GRACE: Duration = Duration::from_secs(1);
/// The interval at which workers without a pidfd are looked at.
const LOOK: Duration = Duration::from_millis(100);
/// The interval at which processes of workers that have left them are reaped.
const REAP: Duration = Duration::from_secs(60);
/// Far more than a message needs, which is two numbers.
const LONGEST: usize = 1 << 10;

/// Whether stdin is the control socket of a daemon, and not a user's terminal.
pub(crate) fn is_called() -> bool {
    rustix::net::sockopt::socket_type(io::stdin()).is_ok_and(|kind| kind == SocketType::SEQPACKET)
}

/// Serves the daemon at the other end of stdin until the daemon is gone, for whatever reason.
///
/// The memory of this process is not kept from swap, because it holds no secret. Workers lock their own memory, because
/// locks do not survive exec.
pub(crate) fn main() -> ExitCode {
    let stop = [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT];
    let served = own_process::prepare(c"dekhand-spawner", &stop).and_then(|()| {
        orphans::adopt()?;
        let list = handover::take().map_err(io::Error::other)?;
        serve(io::stdin().as_fd(), list)
    });
    // The daemon notices the end of the control socket; there is no other reader.
    served.map_or(ExitCode::FAILURE, |()| ExitCode::SUCCESS)
}

/// An assignment of the list, and the rate of its starts.
struct Entry {
    assignment: Assignment,
    pace: Pace,
}

fn serve(control: BorrowedFd<'_>, list: Vec<Assignment>) -> io::Result<()> {
    let entry = |assignment| Entry {
        assignment,
        pace: Pace::default(),
    };
    let mut list: Vec<_> = list.into_iter().map(entry).collect();
    let mut workers = Vec::new();
    let mut buffer = vec![0; LONGEST];
    loop {
        let heard = wait(Some(control), &mut workers, Some(REAP))?;
        orphans::reap(&workers);
        if !heard {
            continue;
        }
        match receive(control, &mut buffer)? {
            Heard::End => break,
            Heard::Message(ToSpawner::Start { worker, index }, Some(channel)) => {
                let started = start_worker(worker, index, &channel, &mut list, &workers);
                workers.extend(started);
            }
            Heard::Nothing | Heard::Message(ToSpawner::Start { .. }, None) => {}
            Heard::Message(ToSpawner::Kill { worker: number }, _) => {
                let killed = workers.iter_mut().filter(|worker| worker.number == number);
                killed.for_each(Worker::kill);
            }
        }
    }
    end(workers);
    Ok(())
}

/// Waits for a message or the end of a worker. Reaps workers that have ended, after killing all processes that they
/// have started.
fn wait(control: Option<BorrowedFd<'_>>, workers: &mut Vec<Worker>, limit: Option<Duration>) -> io::Result<bool> {
    let looks = workers.iter().any(|worker| worker.pidfd.is_none());
    let limit = if looks {
        Some(limit.map_or(LOOK, |limit| limit.min(LOOK)))
    } else {
        limit
    };
    let limit = limit.map(Timespec::try_from).transpose().map_err(io::Error::other)?;
    let heard = {
        let pidfds = workers.iter().filter_map(|worker| Some(worker.pidfd.as_ref()?.as_fd()));
        let mut polled: Vec<_> = control
            .into_iter()
            .chain(pidfds)
            .map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::IN))
            .collect();
        match rustix::event::poll(&mut polled, limit.as_ref()) {
            // A signal that is meant for the daemon.
            Err(rustix::io::Errno::INTR) => return Ok(false),
            polled => polled?,
        };
        control.is_some() && polled.first().is_some_and(|fd| !fd.revents().is_empty())
    };
    workers.retain_mut(|worker| {
        let ended = worker.has_ended();
        if ended {
            worker.bury();
        }
        !ended
    });
    Ok(heard)
}

enum Heard {
    Nothing,
    Message(ToSpawner, Option<OwnedFd>),
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
        // An empty message is impossible.
        None | Some([]) => Ok(Heard::End),
        // An invalid or too long message does not come from a daemon of this build: this process ends.
        Some(message) => {
            let message = frame::decode(message).map_err(io::Error::other)?;
            Ok(Heard::Message(message, channel))
        }
    }
}

/// Starts a worker, or sends the daemon the reason why it cannot.
fn start_worker(number: u64, index: u32, channel: &OwnedFd, list: &mut [Entry], others: &[Worker]) -> Option<Worker> {
    let started = limits::may_live(others, index).and_then(|()| {
        let entry = usize::try_from(index).ok().and_then(|index| list.get_mut(index));
        let Entry { assignment, pace } = entry.ok_or_else(|| io::Error::other("there is no such assignment"))?;
        pace.take(Instant::now())?;
        child::start(number, index, assignment, channel.try_clone()?)
    });
    match started {
        Ok(worker) => Some(worker),
        Err(error) => {
            let frame = Frame::of(&FromWorker::NotStarted(error.to_string())).ok()?;
            // Without waiting, because the peer may be any socket. A daemon that does not read does not need the
            // reason.
            rustix::net::send(channel, frame.as_bytes(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL).ok();
            None
        }
    }
}

/// The daemon is gone. Workers notice it on their channels and end; those that hang are killed.
fn end(mut workers: Vec<Worker>) {
    linger(&mut workers);
    workers.iter_mut().for_each(Worker::kill);
    // Does not wait for a process that hangs in the kernel.
    linger(&mut workers);
    orphans::end(&workers);
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
mod tests;
