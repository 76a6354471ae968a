//! The daemon's handle on its spawner, the only process that may start others.
//!
//! The spawner gets the list of possible workers once, at its start. After that the control socket only carries the
//! numbers of workers to start or kill. So an attacker with access to the socket, such as code that has hijacked the
//! daemon, can only start the workers that the daemon would have started.

pub(crate) mod process;

use std::ffi::OsStr;
use std::io;
use std::io::IoSlice;
use std::mem::MaybeUninit;
use std::os::fd::AsFd as _;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustix::event::PollFd;
use rustix::event::PollFlags;
use rustix::event::Timespec;
use rustix::net::AddressFamily;
use rustix::net::SendAncillaryBuffer;
use rustix::net::SendAncillaryMessage;
use rustix::net::SendFlags;
use rustix::net::Shutdown;
use rustix::net::SocketFlags;
use rustix::net::SocketType;

use crate::backend::pkcs11::handover;
use crate::backend::pkcs11::ipc::frame::Frame;
use crate::backend::pkcs11::ipc::message::ToSpawner;
use crate::backend::pkcs11::module_output::ModuleOutput;
use crate::root_key::name::RootKeyName;
use crate::token::assignment::Assignment;
use crate::token::assignment::Role;

/// The spawner gives its workers one second to end by themselves, and another one after it has killed them.
const END: Timespec = Timespec { tv_sec: 3, tv_nsec: 0 };

/// The destination of a vendor module's output, for spawner and workers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Prints {
    /// This process's stderr, for commands, which a human watches.
    ToStderr,
    /// The log, for a daemon: [`Spawner::log_prints`] reads it.
    ToLog,
}

/// Identifies a worker of a spawner. Numbers are never reused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct WorkerNumber(u64);

impl WorkerNumber {
    #[cfg(test)]
    pub(in crate::backend::pkcs11) fn of_test(number: u64) -> Self {
        Self(number)
    }

    #[cfg(test)]
    pub(in crate::backend::pkcs11) fn number(self) -> u64 {
        self.0
    }
}

/// A process that starts and kills workers. Cheap to clone; the process and all its workers end with the last clone.
#[derive(Clone, Debug)]
pub struct Spawner(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    control: OwnedFd,
    process: Mutex<Child>,
    started: AtomicU64,
    /// The spawner's list.
    assignments: Vec<Assignment>,
    /// What modules print, until somebody reads it.
    prints: Mutex<Option<UnixStream>>,
    output: ModuleOutput,
}

/// Starts the workers of one assignment. Cheap to clone.
#[derive(Clone, Debug)]
pub struct WorkerSource {
    spawner: Spawner,
    index: u32,
    assignment: Assignment,
}

impl Spawner {
    /// Starts a spawner for these workers and no others. Must be called before any thread is started and before the
    /// process gives up rights that workers need, because they inherit the spawner's.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn start(prints: Prints, assignments: Vec<Assignment>) -> io::Result<Self> {
        // Not `current_exe()`: after an upgrade that path is gone, or has a newer build.
        Self::start_program("/proc/self/exe", prints, assignments)
    }

    /// The same, with another file of this program.
    ///
    /// # Errors
    /// The operating system refuses.
    pub fn start_program(program: impl AsRef<OsStr>, prints: Prints, assignments: Vec<Assignment>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC;
        let (control, theirs) = rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
        let (prints, stderr) = match prints {
            Prints::ToStderr => (None, Stdio::inherit()),
            Prints::ToLog => {
                let (ours, theirs) = UnixStream::pair()?;
                (Some(ours), Stdio::from(OwnedFd::from(theirs)))
            }
        };
        let process = Command::new(program)
            .arg0("dekhand")
            .arg("token-spawner")
            .stdin(theirs)
            .stdout(handover::give(&assignments)?)
            .stderr(stderr)
            // A terminal's signals are for this process alone, which then ends the others in order.
            .process_group(0)
            .spawn()?;
        Ok(Self(Arc::new(Inner {
            control,
            process: Mutex::new(process),
            started: AtomicU64::new(0),
            assignments,
            prints: Mutex::new(prints),
            output: ModuleOutput::default(),
        })))
    }

    /// Starts to log what modules print. Until then it waits in the socket, whose buffer is larger than what a module
    /// prints in that time; a module that prints more waits as well.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub fn log_prints(&self) -> io::Result<()> {
        let source = self.0.prints.lock().unwrap_or_else(PoisonError::into_inner).take();
        source.map_or(Ok(()), |source| self.0.output.follow(source))
    }

    /// The spawner's process id: workers end with it.
    pub fn id(&self) -> u32 {
        self.0.process.lock().unwrap_or_else(PoisonError::into_inner).id()
    }

    /// The source of workers for a root key and role, if the list has them.
    pub fn workers(&self, root_key: &RootKeyName, role: Role) -> Option<WorkerSource> {
        let mut list = (0..).zip(&self.0.assignments);
        let wanted = |assignment: &Assignment| assignment.root_key == *root_key && assignment.role == role;
        let (index, assignment) = list.find(|(_, assignment)| wanted(assignment))?;
        Some(WorkerSource {
            spawner: self.clone(),
            index,
            assignment: assignment.clone(),
        })
    }

    /// Returns when the spawner is gone, so that this process can start no more workers.
    ///
    /// # Cancel safety
    /// Safe.
    ///
    /// # Errors
    /// The operating system has no free descriptor.
    pub async fn gone(&self) -> io::Result<()> {
        // The type of socket does not matter for reading.
        let control = UnixStream::from(self.0.control.try_clone()?);
        control.set_nonblocking(true)?;
        let control = tokio::net::UnixStream::from_std(control)?;
        loop {
            control.readable().await?;
            match control.try_read(&mut [0]) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                // The spawner never writes: a result is the end of the socket.
                Ok(_) | Err(_) => return Ok(()),
            }
        }
    }

    /// Ends the spawner, and waits for up to 3 s until it and all workers are gone. Workers end by themselves when
    /// their channels are closed, which the caller must do first; the others are killed.
    pub fn end(&self) {
        self.0.end();
    }
}

impl WorkerSource {
    /// The workers' assignment.
    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// Starts a worker. Returns the daemon's end of its channel, which does not block. If the worker cannot start, a
    /// message on the channel has the reason. The spawner sends one too if the assignment has two workers already, or
    /// too many were started recently.
    ///
    /// # Errors
    /// The spawner is gone or does not read.
    pub fn start_worker(&self) -> io::Result<(UnixStream, WorkerNumber)> {
        let (ours, theirs) = UnixStream::pair()?;
        ours.set_nonblocking(true)?;
        let spawner = &self.spawner.0;
        let number = spawner.started.fetch_add(1, Ordering::Relaxed);
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let descriptors = [theirs.as_fd()];
        if !ancillary.push(SendAncillaryMessage::ScmRights(&descriptors)) {
            return Err(io::Error::other("no space for a descriptor"));
        }
        let (worker, index) = (number, self.index);
        spawner.say(&ToSpawner::Start { worker, index }, &mut ancillary)?;
        Ok((ours, WorkerNumber(number)))
    }

    /// The last lines that modules have printed, if they may be about a failure now.
    pub(super) fn printed(&self) -> Option<String> {
        self.spawner.0.output.last()
    }

    /// Kills a worker and all processes that it has started. Does nothing if the worker has ended.
    ///
    /// # Errors
    /// The spawner is gone or does not read.
    pub fn kill(&self, worker: WorkerNumber) -> io::Result<()> {
        let kill = ToSpawner::Kill { worker: worker.0 };
        self.spawner.0.say(&kill, &mut SendAncillaryBuffer::default())
    }
}

impl Inner {
    fn say(&self, message: &ToSpawner, ancillary: &mut SendAncillaryBuffer<'_, '_, '_>) -> io::Result<()> {
        let frame = Frame::of(message).map_err(io::Error::other)?;
        // Does not wait: the calling task serves others too.
        let flags = SendFlags::DONTWAIT | SendFlags::NOSIGNAL;
        rustix::net::sendmsg(&self.control, &[IoSlice::new(frame.message())], ancillary, flags)?;
        Ok(())
    }

    fn end(&self) {
        rustix::net::shutdown(&self.control, Shutdown::Write).ok();
        let mut end = [PollFd::new(&self.control, PollFlags::IN)];
        rustix::event::poll(&mut end, Some(&END)).ok();
        let mut process = self.process.lock().unwrap_or_else(PoisonError::into_inner);
        // The socket closes shortly before the process can be waited for.
        for _ in 0..100 {
            match process.try_wait() {
                Ok(None) => std::thread::sleep(Duration::from_millis(1)),
                Ok(Some(_)) | Err(_) => return,
            }
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.end();
    }
}
