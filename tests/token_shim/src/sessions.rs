//! The sessions that are open, lost or logged out.

use std::collections::HashMap;
use std::collections::HashSet;
use std::ffi::c_void;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;

use cryptoki_sys::CK_FLAGS;
use cryptoki_sys::CK_NOTIFY;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_SESSION_HANDLE;
use cryptoki_sys::CK_SLOT_ID;
use cryptoki_sys::CKF_RW_SESSION;
use cryptoki_sys::CKR_OK;
use cryptoki_sys::CKR_SESSION_PARALLEL_NOT_SUPPORTED;

use crate::control;
use crate::control::Control;
use crate::control::Like;
use crate::control::Place;
use crate::crypt;
use crate::message;
use crate::real::real;

#[derive(Default)]
struct State {
    open: HashMap<CK_SESSION_HANDLE, CK_SLOT_ID>,
    lost: HashSet<CK_SESSION_HANDLE>,
    /// The return value of operations while the login is lost.
    logged_out: Option<CK_RV>,
    /// The control file whose events have been applied.
    happened: Option<Place>,
}

static STATE: Mutex<Option<State>> = Mutex::new(None);

/// Calls inside the real module. No session is closed during one: `SoftHSM` would crash.
static INSIDE: RwLock<()> = RwLock::new(());

fn state<T>(with: impl FnOnce(&mut State) -> T) -> T {
    let mut state: MutexGuard<Option<State>> = STATE.lock().unwrap_or_else(PoisonError::into_inner);
    with(state.get_or_insert_default())
}

/// Held while a call is inside the real module.
pub(crate) fn inside() -> RwLockReadGuard<'static, ()> {
    INSIDE.read().unwrap_or_else(PoisonError::into_inner)
}

/// Applies the control file's events that are not applied yet.
pub(crate) fn events(control: &Control) {
    let is_new = |state: &State| state.happened.as_ref() != Some(&control.place);
    if !state(|state| is_new(state)) {
        return;
    }
    let _alone = INSIDE.write().unwrap_or_else(PoisonError::into_inner);
    state(|state| {
        if !is_new(state) {
            return;
        }
        state.happened = Some(control.place.clone());
        if control.logged_out.is_some() {
            let slots: HashMap<_, _> = state.open.iter().map(|(session, slot)| (*slot, *session)).collect();
            for session in slots.into_values() {
                // SAFETY: an open session; it need not be logged in.
                unsafe { real!(C_Logout(session)) };
            }
            state.logged_out = control.logged_out.filter(|_| !state.open.is_empty());
        }
        if control.sessions_lost.is_some() {
            let slots: HashSet<_> = state.open.values().copied().collect();
            state.lost.extend(state.open.drain().map(|(session, _)| session));
            for slot in slots {
                // SAFETY: no call is inside, by the lock above.
                unsafe { real!(C_CloseAllSessions(slot)) };
            }
        }
    });
}

/// The return value of a call in a lost session.
pub(crate) fn lost(control: &Control, session: CK_SESSION_HANDLE) -> Option<CK_RV> {
    control
        .sessions_lost
        .filter(|_| state(|state| state.lost.contains(&session)))
}

/// The return value of an operation with a private key after the login was lost.
pub(crate) fn logged_out() -> Option<CK_RV> {
    state(|state| state.logged_out)
}

/// A login has succeeded.
pub(crate) fn logged_in() {
    state(|state| state.logged_out = None);
}

pub(crate) unsafe fn open(
    slot: CK_SLOT_ID,
    flags: CK_FLAGS,
    application: *mut c_void,
    notify: CK_NOTIFY,
    session: *mut CK_SESSION_HANDLE,
) -> CK_RV {
    let control = control::current();
    if flags & CKF_RW_SESSION == 0 {
        let like = (control.like == Like::CloudHsm).then_some(CKR_SESSION_PARALLEL_NOT_SUPPORTED);
        if let Some(answer) = control.read_only_refused.or(like) {
            return answer;
        }
    }
    let answer = real!(C_OpenSession(slot, flags, application, notify, session));
    if answer == CKR_OK {
        state(|state| state.open.insert(*session, slot));
    }
    answer
}

pub(crate) unsafe fn close(session: CK_SESSION_HANDLE) -> CK_RV {
    crypt::forget(session);
    message::forget(session);
    state(|state| state.open.remove(&session));
    real!(C_CloseSession(session))
}

pub(crate) unsafe fn close_all(slot: CK_SLOT_ID) -> CK_RV {
    let closed = state(|state| state.open.extract_if(|_, of| *of == slot).collect::<Vec<_>>());
    for (session, _) in closed {
        crypt::forget(session);
        message::forget(session);
    }
    real!(C_CloseAllSessions(slot))
}

pub(crate) unsafe fn finalize(reserved: *mut c_void) -> CK_RV {
    let answer = real!(C_Finalize(reserved));
    if answer == CKR_OK {
        crypt::forget_all();
        message::forget_all();
        // The same handles will be reused.
        state(|state| {
            let happened = state.happened.take();
            *state = State {
                happened,
                ..State::default()
            };
        });
    }
    answer
}
