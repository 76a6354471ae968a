//! A filter that refuses the system calls with which a hijacked daemon would go further.

use std::collections::BTreeMap;

use seccompiler::SeccompAction;
use seccompiler::SeccompFilter;
use seccompiler::sock_filter;

/// Calls that nothing in the daemon makes: they start programs, look into other processes, load code into the kernel,
/// or change what this process may see. They fail with EPERM. Reading another process's memory through `/proc` is none of
/// them; the domain refuses that.
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

/// The bit that x32 puts into its numbers. Its calls come with the architecture of x86-64, by numbers that are in no list
/// of that.
const X32: u32 = 0x4000_0000;

/// Installs the filter on every thread, for good.
///
/// # Errors
/// The kernel has no seccomp, or this machine is none that the filter knows.
pub(super) fn install() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    let rules: BTreeMap<_, _> = REFUSED.iter().map(|call| (*call, Vec::new())).collect();
    let refuse = SeccompAction::Errno(libc::EPERM.unsigned_abs());
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, refuse, std::env::consts::ARCH.try_into()?)?;
    let program: seccompiler::BpfProgram = filter.try_into()?;
    seccompiler::apply_filter_all_threads(&program)?;
    if cfg!(target_arch = "x86_64") {
        // The kernel asks all filters, and the strictest answer counts.
        seccompiler::apply_filter_all_threads(&x32())?;
    }
    Ok(())
}

/// A filter that refuses every call of x32. seccompiler compares whole numbers, of which x32 has hundreds.
fn x32() -> [sock_filter; 4] {
    let statement = |code, k| instruction(code, 0, 0, k);
    let refuse = libc::SECCOMP_RET_ERRNO | libc::EPERM.unsigned_abs();
    [
        // `nr`, the first field of `seccomp_data`.
        statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0),
        // Over the next one if the bit is not set.
        instruction(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, 0, 1, X32),
        statement(libc::BPF_RET | libc::BPF_K, refuse),
        statement(libc::BPF_RET | libc::BPF_K, libc::SECCOMP_RET_ALLOW),
    ]
}

fn instruction(code: u32, jt: u8, jf: u8, k: u32) -> sock_filter {
    // All codes are small: they have 16 bits in the kernel's own structure.
    let code = u16::try_from(code).unwrap_or(u16::MAX);
    sock_filter { code, jt, jf, k }
}
