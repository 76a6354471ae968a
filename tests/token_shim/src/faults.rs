//! The faults of a call: before it is forwarded, and in its output.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::thread::sleep;
use std::time::Duration;

use cryptoki_sys::CK_BYTE;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_ULONG;
use cryptoki_sys::CKR_HOST_MEMORY;

use crate::control::Action;
use crate::control::Control;
use crate::control::Fault;
use crate::counts;

/// Whether the module no longer answers.
static HANGS: AtomicBool = AtomicBool::new(false);

/// The return value of a call that is not forwarded.
pub(crate) fn before(control: &Control, function: &str) -> Option<CK_RV> {
    if HANGS.load(Ordering::Relaxed) {
        hang();
    }
    let due = control
        .faults
        .iter()
        .filter(|fault| !alters(fault) && fault.is_about(function));
    due.filter(|fault| is_due(control, fault))
        .find_map(|fault| befall(&fault.action))
}

/// Alters an output as long as `length`, in a buffer that holds `capacity`.
pub(crate) unsafe fn alter(
    control: &Control,
    function: &str,
    output: *mut CK_BYTE,
    length: *mut CK_ULONG,
    capacity: CK_ULONG,
) {
    for fault in &control.faults {
        if output.is_null() || *length == 0 || !alters(fault) || !fault.is_about(function) || !is_due(control, fault) {
            continue;
        }
        match fault.action {
            Action::Flip => *output ^= 1,
            Action::Shorter => *length -= 1,
            Action::Longer => {
                // Claimed even without room for it: the caller must not trust it.
                if *length < capacity {
                    *output.add(usize::try_from(*length).unwrap_or(0)) = 0xA5;
                }
                *length += 1;
            }
            _ => {}
        }
    }
}

fn alters(fault: &Fault) -> bool {
    matches!(fault.action, Action::Flip | Action::Longer | Action::Shorter)
}

fn is_due(control: &Control, fault: &Fault) -> bool {
    !fault.limits.count() || {
        let call = counts::update(&control.place.count_of(fault.line), |count| count + 1);
        fault.limits.include(call)
    }
}

/// Never returns from this call, nor from any later one of this process.
pub(crate) fn hang_for_ever() -> ! {
    HANGS.store(true, Ordering::Relaxed);
    hang()
}

fn hang() -> ! {
    loop {
        sleep(Duration::from_secs(3600));
    }
}

pub(crate) fn befall(action: &Action) -> Option<CK_RV> {
    match *action {
        Action::Delay(time) => sleep(time),
        Action::Fail(value) => return Some(value),
        Action::Hang => hang(),
        Action::Crash => {
            let nowhere: *mut u8 = std::ptr::without_provenance_mut(16);
            // SAFETY: none. The page is never mapped, and the process ends here, as requested.
            unsafe { nowhere.write_volatile(1) }
        }
        Action::Abort => std::process::abort(),
        Action::Exit(code) => std::process::exit(code),
        Action::Leak(bytes) => return leak(bytes),
        Action::Noise => noise(),
        Action::Flip | Action::Longer | Action::Shorter => {}
    }
    None
}

fn leak(bytes: usize) -> Option<CK_RV> {
    // SAFETY: memory of its own, filled and forgotten.
    unsafe {
        let memory = libc::malloc(bytes);
        if memory.is_null() {
            return Some(CKR_HOST_MEMORY);
        }
        // Not with zeros: the compiler would turn both into a calloc, which touches no page.
        std::ptr::write_bytes(memory.cast::<u8>(), 0xA5, bytes);
        std::hint::black_box(memory);
    }
    None
}

fn noise() {
    let text = b"vendor: this is a line that nobody asked for\n";
    for descriptor in [libc::STDOUT_FILENO, libc::STDERR_FILENO] {
        // SAFETY: reads a constant. Written without Rust's own handles, as a vendor's C code does.
        unsafe { libc::write(descriptor, text.as_ptr().cast(), text.len()) };
    }
}
