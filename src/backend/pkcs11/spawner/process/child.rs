//! A worker from its parent's view: a process and its group.

use std::env;
use std::ffi::OsStr;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::Child;
use std::process::Command;
use std::time::Instant;

use rustix::net::Shutdown;
use rustix::process::Pid;
use rustix::process::PidfdFlags;
use rustix::process::Signal;
use rustix::process::WaitId;
use rustix::process::WaitIdOptions;

use crate::backend::pkcs11::handover;
use crate::telemetry::log::chain;
use crate::token::assignment::Assignment;
use crate::token::variable::EnvironmentVariable;

/// A worker that has not been reaped, so the ids of its process and group are not reused.
pub(super) struct Worker {
    /// The daemon's number for it.
    pub(super) number: u64,
    /// The index of its assignment.
    pub(super) index: u32,
    pub(super) process: Child,
    /// The worker's end of its channel, which processes that it has started may hold open after its death.
    pub(super) channel: OwnedFd,
    /// Readable when the process has ended. Linux before 5.3 and some containers' filters have no such descriptors.
    pub(super) pidfd: Option<OwnedFd>,
    /// When it was first killed.
    pub(super) killed: Option<Instant>,
}

impl Worker {
    pub(super) fn kill(&mut self) {
        self.killed.get_or_insert_with(Instant::now);
        // The group may be empty.
        rustix::process::kill_process_group(Pid::from_child(&self.process), Signal::KILL).ok();
    }

    /// Whether the process has ended. It stays unreaped.
    pub(super) fn has_ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = rustix::process::waitid(WaitId::Pid(Pid::from_child(&self.process)), options);
        matches!(status, Ok(Some(_)))
    }

    /// Buries a process that has ended: ends its group, reaps it, and lets the daemon know at once, even if a process
    /// outside the group holds the channel open.
    pub(super) fn bury(&mut self) {
        self.kill();
        self.process.wait().ok();
        rustix::net::shutdown(&self.channel, Shutdown::Both).ok();
    }
}

/// Starts a worker. This function passes everything that the worker gets: its assignment, and the environment from it.
pub(super) fn start(number: u64, index: u32, assignment: &Assignment, channel: OwnedFd) -> io::Result<Worker> {
    let mut command = Command::new("/proc/self/exe");
    for (name, _) in env::vars_os().filter(|(name, _)| is_for_the_daemon(name)) {
        command.env_remove(&name);
    }
    let value = |EnvironmentVariable { name, value }: &EnvironmentVariable| match value.read() {
        Ok(value) => Ok((name.clone(), value)),
        Err(error) => Err(io::Error::other(format!(
            "the variable {name} is not set: {}",
            chain(&error)
        ))),
    };
    let environment = assignment.options.environment.iter().map(value);
    let environment = environment.collect::<io::Result<Vec<_>>>()?;
    let process = command
        .arg0("dekhand")
        .args(["token-worker", "--parent", &std::process::id().to_string()])
        .envs(environment)
        .stdin(channel.try_clone()?)
        .stdout(handover::give(assignment)?)
        .process_group(0)
        .spawn()?;
    let pidfd = rustix::process::pidfd_open(Pid::from_child(&process), PidfdFlags::empty()).ok();
    Ok(Worker {
        number,
        index,
        process,
        channel,
        pidfd,
        killed: None,
    })
}

/// The service manager's variables for the daemon are not for the vendor's module.
fn is_for_the_daemon(variable: &OsStr) -> bool {
    let name = variable.as_encoded_bytes();
    name == b"NOTIFY_SOCKET" || name.starts_with(b"LISTEN_") || name.starts_with(b"WATCHDOG_")
}

#[cfg(test)]
mod tests {
    use super::*;

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
