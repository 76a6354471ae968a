//! `C_EncryptInit`, `C_Encrypt`, `C_DecryptInit`, `C_Decrypt`: the operation in each session, by the shim or by
//! SoftHSM.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use cryptoki_sys::CK_BYTE;
use cryptoki_sys::CK_MECHANISM;
use cryptoki_sys::CK_OBJECT_HANDLE;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_SESSION_HANDLE;
use cryptoki_sys::CK_ULONG;
use cryptoki_sys::CKM_AES_GCM;
use cryptoki_sys::CKM_AES_KEY_WRAP_KWP;
use cryptoki_sys::CKR_BUFFER_TOO_SMALL;
use cryptoki_sys::CKR_DEVICE_ERROR;
use cryptoki_sys::CKR_OK;

use crate::control;
use crate::control::Control;
use crate::faults;
use crate::gcm;
use crate::kwp;
use crate::mechanisms;
use crate::objects;
use crate::real::real;
use crate::sessions;

/// An operation that is not `SoftHSM`'s alone.
#[derive(Clone, Debug)]
pub(crate) enum Operation {
    /// This token's own IV, which is appended to the output.
    AppendIv(Vec<u8>),
    /// This token's own IV, which replaces the caller's.
    WriteIv { iv: [u8; 12], address: usize },
    /// Key wrap with padding.
    Kwp { key: CK_OBJECT_HANDLE },
    /// A decryption that ignores a wrong tag.
    Untagged {
        key: CK_OBJECT_HANDLE,
        iv: [u8; 12],
        tag: usize,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Direction {
    Encrypt,
    Decrypt,
}

type Operations = HashMap<(CK_SESSION_HANDLE, Direction), Operation>;

static OPERATIONS: Mutex<Option<Operations>> = Mutex::new(None);

fn operations<T>(with: impl FnOnce(&mut Operations) -> T) -> T {
    with(
        OPERATIONS
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_or_insert_default(),
    )
}

/// The session is closed.
pub(crate) fn forget(session: CK_SESSION_HANDLE) {
    operations(|operations| operations.retain(|(of, _), _| *of != session));
}

/// All sessions are closed.
pub(crate) fn forget_all() {
    operations(HashMap::clear);
}

/// The input of an operation.
#[derive(Clone, Copy)]
struct Data {
    session: CK_SESSION_HANDLE,
    input: *mut CK_BYTE,
    length: CK_ULONG,
    output: *mut CK_BYTE,
    output_length: *mut CK_ULONG,
}

pub(crate) unsafe fn encrypt_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    begin(Direction::Encrypt, session, mechanism, key)
}

pub(crate) unsafe fn decrypt_init(
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    begin(Direction::Decrypt, session, mechanism, key)
}

unsafe fn begin(
    direction: Direction,
    session: CK_SESSION_HANDLE,
    mechanism: *mut CK_MECHANISM,
    key: CK_OBJECT_HANDLE,
) -> CK_RV {
    let _inside = sessions::inside();
    let control = control::current();
    let kind = mechanism.as_ref().map(|mechanism| mechanism.mechanism);
    if kind.is_some_and(|kind| control.hanging.contains(&kind)) {
        faults::hang_for_ever();
    }
    let key = objects::exchanged(&control, session, key);
    let refused = kind.and_then(|kind| mechanisms::refusal(&control, kind));
    if let Some(answer) = sessions::logged_out().or(refused) {
        return answer;
    }
    let (answer, operation) = match (kind, direction) {
        (Some(CKM_AES_GCM), Direction::Encrypt) => gcm::encrypt_init(&control, session, &*mechanism, key),
        (Some(CKM_AES_GCM), Direction::Decrypt) => gcm::decrypt_init(&control, session, &*mechanism, key),
        (Some(CKM_AES_KEY_WRAP_KWP), _) if control.kwp => kwp::init(&*mechanism, key),
        (_, Direction::Encrypt) => (real!(C_EncryptInit(session, mechanism, key)), None),
        (_, Direction::Decrypt) => (real!(C_DecryptInit(session, mechanism, key)), None),
    };
    if answer == CKR_OK {
        operations(|operations| match operation {
            Some(operation) => operations.insert((session, direction), operation),
            None => operations.remove(&(session, direction)),
        });
    }
    answer
}

pub(crate) unsafe fn encrypt(
    session: CK_SESSION_HANDLE,
    input: *mut CK_BYTE,
    length: CK_ULONG,
    output: *mut CK_BYTE,
    output_length: *mut CK_ULONG,
) -> CK_RV {
    let data = Data {
        session,
        input,
        length,
        output,
        output_length,
    };
    finish(Direction::Encrypt, data)
}

pub(crate) unsafe fn decrypt(
    session: CK_SESSION_HANDLE,
    input: *mut CK_BYTE,
    length: CK_ULONG,
    output: *mut CK_BYTE,
    output_length: *mut CK_ULONG,
) -> CK_RV {
    let data = Data {
        session,
        input,
        length,
        output,
        output_length,
    };
    finish(Direction::Decrypt, data)
}

unsafe fn finish(direction: Direction, data: Data) -> CK_RV {
    let _inside = sessions::inside();
    let control = control::current();
    if throttled(&control) {
        return CKR_DEVICE_ERROR;
    }
    let capacity = if data.output.is_null() { 0 } else { *data.output_length };
    let running = operations(|operations| operations.get(&(data.session, direction)).cloned());
    let mut answer = match (&running, direction) {
        (Some(Operation::Kwp { key }), _) => {
            let input = slice(data.input, data.length);
            let result = kwp::run(&control, direction, data.session, *key, input);
            result.map_or_else(|error| error, |result| give(&result, data))
        }
        (Some(Operation::AppendIv(iv)), _) => append_iv(iv, data),
        (Some(Operation::Untagged { key, iv, tag }), _) => {
            let answer = plain(direction, data);
            let input = slice(data.input, data.length);
            match input.split_at_checked(input.len().saturating_sub(*tag)) {
                Some((ciphertext, _)) if !is_fine(answer) => {
                    let plaintext = gcm::without_tag(data.session, *key, iv, ciphertext);
                    *data.output_length = capacity;
                    plaintext.map_or_else(|error| error, |plaintext| give(&plaintext, data))
                }
                _ => answer,
            }
        }
        _ => plain(direction, data),
    };
    if let (Some(Operation::WriteIv { iv, address }), CKR_OK, false) = (&running, answer, data.output.is_null()) {
        // By the standard, the caller's buffer is valid until the operation ends.
        std::ptr::with_exposed_provenance_mut::<[u8; 12]>(*address).write(*iv);
    }
    // A call for the size, or with a too small buffer, keeps the operation active.
    if answer != CKR_BUFFER_TOO_SMALL && !(answer == CKR_OK && data.output.is_null()) {
        operations(|operations| operations.remove(&(data.session, direction)));
    }
    if let (Some(instead), Direction::Decrypt, false) = (control.decrypt_error, direction, is_fine(answer)) {
        answer = instead;
    }
    if answer == CKR_OK {
        let function = match direction {
            Direction::Encrypt => "C_Encrypt",
            Direction::Decrypt => "C_Decrypt",
        };
        faults::alter(&control, function, data.output, data.output_length, capacity);
    }
    answer
}

fn is_fine(answer: CK_RV) -> bool {
    matches!(answer, CKR_OK | CKR_BUFFER_TOO_SMALL)
}

unsafe fn plain(direction: Direction, data: Data) -> CK_RV {
    let Data {
        session,
        input,
        length,
        output,
        output_length,
    } = data;
    match direction {
        Direction::Encrypt => real!(C_Encrypt(session, input, length, output, output_length)),
        Direction::Decrypt => real!(C_Decrypt(session, input, length, output, output_length)),
    }
}

unsafe fn append_iv(iv: &[u8], data: Data) -> CK_RV {
    let capacity = *data.output_length;
    let own = iv.len() as CK_ULONG;
    // Of AES-GCM with a tag of 16 bytes.
    let needed = data.length + 16 + own;
    if data.output.is_null() || capacity < needed {
        *data.output_length = needed;
        return if data.output.is_null() {
            CKR_OK
        } else {
            CKR_BUFFER_TOO_SMALL
        };
    }
    let answer = plain(Direction::Encrypt, data);
    if answer == CKR_OK {
        let length = usize::try_from(*data.output_length).expect("a length");
        data.output.add(length).copy_from_nonoverlapping(iv.as_ptr(), iv.len());
        *data.output_length += own;
    }
    answer
}

/// Returns a result to the caller by the rules of the standard.
unsafe fn give(result: &[u8], data: Data) -> CK_RV {
    let capacity = *data.output_length;
    *data.output_length = result.len() as CK_ULONG;
    if data.output.is_null() {
        return CKR_OK;
    }
    if capacity < *data.output_length {
        return CKR_BUFFER_TOO_SMALL;
    }
    data.output.copy_from_nonoverlapping(result.as_ptr(), result.len());
    CKR_OK
}

/// The bytes behind a caller's pointer.
pub(crate) unsafe fn slice<'a>(pointer: *const u8, length: CK_ULONG) -> &'a [u8] {
    if pointer.is_null() {
        return &[];
    }
    std::slice::from_raw_parts(pointer, usize::try_from(length).expect("a length"))
}

/// Whether this call exceeds the limit of this second.
fn throttled(control: &Control) -> bool {
    static CALLS: Mutex<VecDeque<Instant>> = Mutex::new(VecDeque::new());
    let Some(most) = control.throttle else {
        return false;
    };
    let mut calls = CALLS.lock().unwrap_or_else(PoisonError::into_inner);
    while calls
        .front()
        .is_some_and(|call| call.elapsed() > Duration::from_secs(1))
    {
        calls.pop_front();
    }
    let too_many = calls.len() >= most;
    if !too_many {
        calls.push_back(Instant::now());
    }
    too_many
}
