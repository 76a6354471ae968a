//! A filter that refuses system calls which would help an attacker in a hijacked daemon.

use std::collections::BTreeMap;

use seccompiler::SeccompAction;
use seccompiler::SeccompFilter;
use seccompiler::sock_filter;

/// Calls that the daemon never makes: they start programs, access other processes, load code into the kernel, or change
/// the namespaces and mounts of this process. They fail with EPERM. The filter cannot refuse reading another process's
/// memory through `/proc`; the Landlock domain does.
const REFUSED: &[i64] = &[
    libc::SYS_execve,
    libc::SYS_execveat,
    libc::SYS_ptrace,
    libc::SYS_process_vm_readv,
    libc::SYS_process_vm_writev,
    libc::SYS_pidfd_getfd,
    libc::SYS_bpf,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    libc::SYS_io_uring_setup,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_move_mount,
    libc::SYS_open_tree,
    libc::SYS_fsopen,
    libc::SYS_fspick,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_mount_setattr,
    libc::SYS_open_by_handle_at,
    libc::SYS_pivot_root,
    libc::SYS_chroot,
    libc::SYS_setns,
    libc::SYS_unshare,
    libc::SYS_keyctl,
    libc::SYS_add_key,
    libc::SYS_request_key,
    libc::SYS_swapon,
    libc::SYS_reboot,
];

/// The bit that x32 sets in its call numbers. x32 calls have the architecture of x86-64, but numbers that are not in
/// its list.
const X32: u32 = 0x4000_0000;

/// Installs the filter on every thread, permanently.
///
/// # Errors
/// The kernel has no seccomp, or the filter does not support this architecture.
pub(super) fn install() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let rules: BTreeMap<_, _> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program)?;
    if cfg!(target_arch = "x86_64") {
        // The kernel runs all filters, and the strictest result counts.
        seccompiler::apply_filter_all_threads(&x32())?;
    }
    Ok(())
}

/// A filter that refuses every x32 call. Written by hand: seccompiler compares whole numbers, and x32 has hundreds.
fn x32() -> [sock_filter; 4] {
    let statement = |code, k| instruction(code, 0, 0, k);
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    [
        // `nr`, the first field of `seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        // Skips the next instruction if the bit is not set.
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, X32),
        statement(libc::BPF_RET | libc::BPF_K, refuse),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ]
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // Codes fit: they have 16 bits in the kernel's structure.
    let code = u16::try_from(code).unwrap_or(u16::MAX);
    sock_filter { code, jt, jf, k }
}
