//! The token worker: the only process that loads the vendor's module and holds the PIN and the sessions.
//!
//! Calls arrive through `channel` and wait in `queue`. `dispatch` takes each one and tries it with `execute`,
//! repeatedly and with the steps of `recovery` in between. The parts that all threads share own their state. `sessions`
//! (module, login, the session of each thread), `wrap_methods` and `proof` call the token; `suspects`, `absence` and
//! `activity` only decide, and `dispatch` acts on their decisions.

mod absence;
mod activity;
mod canary;
mod channel;
mod describe;
mod discovery;
mod dispatch;
mod execute;
mod job;
mod mutex;
mod progress;
mod proof;
mod queue;
mod recovery;
mod service;
mod sessions;
mod suspects;
mod wrap_methods;

use std::io;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::Pid;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::process::Signal;

use crate::backend::pkcs11::handover;
use crate::backend::pkcs11::handover::HandoverError;
use crate::backend::pkcs11::ipc::BUILD;
use crate::backend::pkcs11::ipc::ProtocolError;
use crate::backend::pkcs11::ipc::call::Call;
use crate::backend::pkcs11::ipc::frame;
use crate::backend::pkcs11::ipc::message::ToWorker;
use crate::backend::pkcs11::own_process;
use crate::backend::pkcs11::worker::channel::Outlet;
use crate::backend::pkcs11::worker::job::Job;
use crate::backend::pkcs11::worker::service::Service;
use crate::clock::Clock;
use crate::files;
use crate::hardening::HardeningError;
use crate::hardening::memory::keep;
use crate::telemetry::log::chain;
use crate::token::assignment::Assignment;

/// The time for a module to close its token.
const GOODBYE: Duration = Duration::from_secs(2);

/// Why a worker could not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum WorkerError {
    /// It was not started by a spawner.
    #[error("`token-worker` is started by dekhand itself: run `dekhand serve`, or `dekhand token` to inspect tokens")]
    ByHand(#[source] io::Error),
    /// The operating system refused something that every worker needs.
    #[error("cannot {action}")]
    System {
        /// The action that failed.
        action: &'static str,
        /// The operating system's error.
        source: io::Error,
    },
    /// There is no assignment.
    #[error("the token worker's assignment cannot be read")]
    Assignment(#[from] HandoverError),
    /// A required hardening step is unavailable.
    #[error(transparent)]
    Hardening(#[from] HardeningError),
    /// The channel failed before the start was complete.
    #[error(transparent)]
    Channel(#[from] ProtocolError),
}

/// Serves the channel on stdin until it ends; then this process ends too, whatever the module is doing.
///
/// # Errors
/// The worker could not start.
pub(crate) fn main(parent: u32) -> Result<(), WorkerError> {
    let channel = channel::take_stdin().map_err(WorkerError::ByHand)?;
    let outlet = channel.try_clone().map_err(system("share the channel"))?;
    let outlet = Outlet::new(outlet);
    match prepare(parent) {
        Ok((assignment, warnings)) => {
            outlet.hello(BUILD, warnings)?;
            work(&channel, assignment, outlet)
        }
        Err(error) => {
            outlet.not_started(chain(&error));
            Err(error)
        }
    }
}

/// Takes the assignment, and hardens this process before it has a module, a PIN and data keys. Also returns the
/// protections that it does without, with the reasons.
fn prepare(parent: u32) -> Result<(Assignment, Vec<String>), WorkerError> {
    bind_to(parent)?;
    let assignment: Assignment = handover::take()?;
    let mut warnings: Vec<String> = keep(assignment.lock_memory)?.into_iter().collect();
    limit_memory(&assignment)?;
    warnings.extend(module_exposed(&assignment.options.module));
    Ok((assignment, warnings))
}

/// Why other users may be able to replace the module. Only a warning: distributions install modules below directories
/// that a group of administrators can write. A file that is missing is reported when it is loaded.
fn module_exposed(module: &Path) -> Option<String> {
    match files::check_writers(module) {
        Err(error) if !error.is_not_found() => Some(format!(
            "the module's code has the PIN, and other users may be able to replace {}: {}",
            module.display(),
            chain(&error)
        )),
        _ => None,
    }
}

/// Binds the life of this process, which will hold the PIN, to its parent.
fn bind_to(parent: u32) -> Result<(), WorkerError> {
    own_process::prepare(c"dekhand-worker", &[Signal::TERM, Signal::INT, Signal::HUP])
        .and_then(|()| Ok(rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?))
        .map_err(system("bind this process to its parent"))?;
    // The parent may have died before the previous line.
    let now = rustix::process::getppid().map(Pid::as_raw_nonzero);
    if now.map(std::num::NonZero::get) != i32::try_from(parent).ok() {
        let gone = io::Error::other("another process is");
        return Err(system("be a child of the spawner")(gone));
    }
    Ok(())
}

/// A module that leaks memory ends this process only. Otherwise a memory limit of the container could end the daemon
/// too.
fn limit_memory(assignment: &Assignment) -> Result<(), WorkerError> {
    let limit = Rlimit {
        current: Some(assignment.memory),
        maximum: Some(assignment.memory),
    };
    rustix::process::setrlimit(Resource::Data, limit).map_err(|error| system("limit its memory")(error.into()))
}

fn work(channel: &UnixStream, assignment: Assignment, outlet: Outlet) -> Result<(), WorkerError> {
    let sessions = assignment.options.concurrent_calls();
    let service = Arc::new(Service::new(assignment, outlet, Clock::system()));
    let (done, all_done) = mpsc::channel::<()>();
    for session_index in 0..sessions {
        let (service, done) = (Arc::clone(&service), done.clone());
        std::thread::Builder::new()
            .name(format!("session-{session_index}"))
            .spawn(move || {
                // A panic ends the process, which the daemon notices. The end of this thread alone would go unnoticed.
                let _ends = EndOnPanic;
                service.run(session_index);
                drop(done);
            })
            .map_err(system("start a thread"))?;
    }
    let making = Arc::clone(&service);
    std::thread::Builder::new()
        .name("proofs".to_owned())
        .spawn(move || {
            let _ends = EndOnPanic;
            making.proofs.make_proofs();
            drop(done);
        })
        .map_err(system("start a thread"))?;
    read_calls(channel, &service);
    // The daemon is gone, or has ended this worker. Sessions are closed as far as the module cooperates.
    service.queue.close();
    service.proofs.close();
    std::thread::Builder::new()
        .name("goodbye".to_owned())
        .spawn(move || {
            service.proofs.withdraw();
            // Nothing is ever sent: the channel ends with the last session's thread.
            all_done.recv().ok();
            service.sessions.disconnect();
            end();
        })
        .map_err(system("start a thread"))?;
    std::thread::sleep(GOODBYE);
    end()
}

fn read_calls(channel: &UnixStream, service: &Service) {
    // The daemon is of the same build and only sends calls, so another message does not come from a daemon: the worker
    // ends, as when the channel does.
    while let Ok(ToWorker { number, call }) = frame::read::<ToWorker<Call>>(channel) {
        service.queue.push(Job::new(number, call));
    }
}

/// Ends this process at once, without running destructors of a module that may hang, be broken or be in use.
fn end() -> ! {
    loop {
        rustix::process::kill_process(rustix::process::getpid(), Signal::KILL).ok();
        std::thread::sleep(Duration::from_secs(1));
    }
}

struct EndOnPanic;

impl Drop for EndOnPanic {
    fn drop(&mut self) {
        if std::thread::panicking() {
            end();
        }
    }
}

/// Bytes of data memory of this process, as `RLIMIT_DATA` counts them; 0 if unknown.
fn memory() -> u64 {
    // proc(5), statm: the sixth field is data and stack, in pages.
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = statm.split(' ').nth(5).and_then(|field| field.parse::<u64>().ok());
    let page = u64::try_from(rustix::param::page_size()).unwrap_or(0);
    pages.unwrap_or(0).saturating_mul(page)
}

fn system(action: &'static str) -> impl FnOnce(io::Error) -> WorkerError {
    move |source| WorkerError::System { action, source }
}
