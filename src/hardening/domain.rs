//! A Landlock domain around this process.

use landlock::AccessFs;
use landlock::RestrictionStatus;
use landlock::Ruleset;
use landlock::RulesetAttr as _;
use landlock::RulesetError;
use landlock::RulesetStatus;
use landlock::Scope;

/// Why there is no domain.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoDomain {
    /// The kernel has no Landlock, or Landlock is disabled in the kernel or blocked by the parent process.
    #[error("the kernel has no Landlock")]
    Unavailable,
    /// The kernel has Landlock, but refuses the ruleset.
    #[error("the kernel's Landlock refuses the ruleset: {0}")]
    Refused(#[from] RulesetError),
}

/// Puts the calling thread, and every thread that it starts, into a domain, permanently. Must be called after every
/// process that must stay outside was started.
///
/// From inside any domain the kernel refuses access to a process outside, even to root: by ptrace(2), by
/// `/proc/PID/mem`, and by the links in `/proc/PID/fd`, which a system-call filter cannot tell from other files. With
/// `CAP_PERFMON`, which root has, Linux still allows reading `maps`, `auxv` and `environ`: addresses and variables.
///
/// # Errors
/// There is no domain, and this thread is unchanged.
pub(super) fn enter() -> Result<(), NoDomain> {
    let entered = ruleset()?.create()?.restrict_self()?;
    judge(&entered)
}

/// Further actions that the domain refuses, if the kernel's version supports that. Reading and writing files is not
/// restricted: the operator chooses the paths of configuration, state and socket, and may create or mount them later.
fn ruleset() -> Result<Ruleset, RulesetError> {
    Ruleset::default()
        // Programs, and device files that give access to disks or memory.
        .handle_access(AccessFs::Execute | AccessFs::MakeChar | AccessFs::MakeBlock)?
        // Signals to processes outside (Linux 6.12).
        .scope(Scope::Signal)
}

fn judge(entered: &RestrictionStatus) -> Result<(), NoDomain> {
    match entered.ruleset {
        // An older kernel does not support the whole ruleset, but the domain exists.
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err(NoDomain::Unavailable),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use landlock::CompatLevel;
    use landlock::Compatible as _;
    use seccompiler::BpfProgram;
    use seccompiler::SeccompAction;
    use seccompiler::SeccompFilter;

    use super::*;

    #[test]
    fn a_thread_in_a_domain_starts_no_program_whatever_the_kernel_is_it_says_so() {
        let started = std::thread::spawn(|| {
            let entered = enter();
            (entered, std::process::Command::new("/bin/true").status())
        });
        match started.join().unwrap() {
            (Ok(()), started) => assert_eq!(started.unwrap_err().raw_os_error(), Some(libc::EACCES)),
            (Err(error @ NoDomain::Unavailable), started) => {
                println!("no domain could be tried: {error}");
                assert!(started.unwrap().success(), "nothing has changed");
            }
            (Err(error), _) => panic!("{error:?}"),
        }
    }

    /// Simulates a kernel without Landlock by a system-call filter on this thread alone.
    #[test]
    fn without_landlock_there_is_a_reason_and_nothing_has_changed() {
        let started = std::thread::spawn(|| {
            let call = BTreeMap::from([(libc::SYS_landlock_create_ruleset, Vec::new())]);
            let unknown = SeccompAction::Errno(libc::ENOSYS.unsigned_abs());
            let arch = std::env::consts::ARCH.try_into().unwrap();
            let filter = SeccompFilter::new(call, SeccompAction::Allow, unknown, arch).unwrap();
            seccompiler::apply_filter(&BpfProgram::try_from(filter).unwrap()).unwrap();
            (enter(), std::process::Command::new("/bin/true").status())
        });
        let (entered, started) = started.join().unwrap();
        let reason = entered.unwrap_err();
        assert!(matches!(reason, NoDomain::Unavailable), "{reason}");
        assert!(started.unwrap().success());
    }

    #[test]
    fn the_ruleset_is_one_that_kernels_take() {
        // The builder rejects an empty or inconsistent ruleset on every kernel; a kernel without Landlock creates
        // nothing.
        let created = ruleset().unwrap().set_compatibility(CompatLevel::BestEffort).create();
        created.unwrap();
    }
}
