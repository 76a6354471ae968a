//! The control file, which is read again after each change.

mod line;

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::OnceLock;
use std::sync::PoisonError;
use std::time::Duration;

use cryptoki_sys::CK_ATTRIBUTE_TYPE;
use cryptoki_sys::CK_MECHANISM_TYPE;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CK_USER_TYPE;

use crate::limits::Limits;

/// The variable with the path of the file.
pub const VARIABLE: &str = "DEKHAND_SHIM_CONTROL";

/// The content of a control file.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Control {
    /// Where it was read.
    pub(crate) place: Place,
    /// The faults of single functions.
    pub faults: Vec<Fault>,
    /// `sessions lost`: the return value for old handles.
    pub sessions_lost: Option<CK_RV>,
    /// `logged out`: the return value of operations with private keys.
    pub logged_out: Option<CK_RV>,
    /// `finds nothing`, and the number of its line.
    pub finds_nothing: Option<(usize, Limits)>,
    /// `pin locks`.
    pub pin: Option<PinLock>,
    /// `wrong-pin`: the response.
    pub wrong_pin: Option<Action>,
    /// `login already`.
    pub login_already: bool,
    /// `read-only refused`: the return value.
    pub read_only_refused: Option<CK_RV>,
    /// `throttle`: calls in a second.
    pub throttle: Option<usize>,
    /// `decrypt-error`.
    pub decrypt_error: Option<CK_RV>,
    /// `like`.
    pub like: Like,
    /// `kwp`.
    pub kwp: bool,
    /// `no MECHANISM`.
    pub hidden: BTreeSet<CK_MECHANISM_TYPE>,
    /// `refuse MECHANISM`: the return value.
    pub refused: Vec<(CK_MECHANISM_TYPE, CK_RV)>,
    /// `hang MECHANISM`.
    pub hanging: BTreeSet<CK_MECHANISM_TYPE>,
    /// `exchanged`: ids of keys, and the ids of those used instead.
    pub exchanged: Vec<(Vec<u8>, Vec<u8>)>,
    /// `constant-iv`.
    pub constant_iv: bool,
    /// `no-tamper-detection`.
    pub no_tamper_detection: bool,
    /// `weak-template`.
    pub weak_template: bool,
    /// `public-template`.
    pub public_template: bool,
    /// `search-ignores`.
    pub ignored_in_searches: BTreeSet<CK_ATTRIBUTE_TYPE>,
    /// `search-refuses`: the return value.
    pub refused_in_searches: Vec<(CK_ATTRIBUTE_TYPE, CK_RV)>,
    /// `refuse-attribute`.
    pub refused_attributes: Vec<RefusedAttribute>,
    /// `hide-attribute`.
    pub hidden_attributes: BTreeSet<CK_ATTRIBUTE_TYPE>,
    /// `serial`.
    pub serial: Option<String>,
    /// `odd-clock`.
    pub odd_clock: bool,
    /// `protected-path`: the PIN that is typed.
    pub protected_path: Option<String>,
    /// `vendor-user`.
    pub vendor_user: Option<CK_USER_TYPE>,
}

/// Identifies a file among those that had this path one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Place {
    path: PathBuf,
    /// Modification time in nanoseconds, inode, length.
    stamp: (i128, u64, u64),
}

impl Place {
    /// A file beside it, for the lifetime of this control file.
    pub(crate) fn count_of(&self, line: usize) -> PathBuf {
        let (time, inode, _) = self.stamp;
        self.beside(&format!("count.{time}.{inode}.{line}"))
    }

    /// A file beside it, for ever.
    pub(crate) fn beside(&self, name: &str) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(".");
        path.push(name);
        path.into()
    }
}

/// A fault in calls of some functions.
#[derive(Clone, Debug, PartialEq)]
pub struct Fault {
    /// The functions; empty means all.
    pub functions: Vec<String>,
    /// The fault.
    pub action: Action,
    /// Its first call, and its number of calls.
    pub limits: Limits,
    /// The number of its line.
    pub line: usize,
}

impl Fault {
    /// Whether the fault affects this function.
    pub(crate) fn is_about(&self, function: &str) -> bool {
        self.functions.is_empty() || self.functions.iter().any(|name| name == function)
    }
}

/// A fault of a call: see the crate's documentation.
#[derive(Clone, Debug, PartialEq)]
#[expect(missing_docs, reason = "the crate's head says it for those who write control files")]
pub enum Action {
    Delay(Duration),
    Fail(CK_RV),
    Hang,
    Crash,
    Abort,
    Exit(i32),
    Leak(usize),
    Noise,
    Flip,
    Longer,
    Shorter,
}

/// `pin locks`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PinLock {
    /// The number of wrong PINs that lock it.
    pub tries: u64,
    /// No flag shows the count.
    pub silent: bool,
}

/// How AES-GCM works.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Like {
    /// Like `SoftHSM`: the caller's IV, or zeros if the caller gives none.
    #[default]
    SoftHsm,
    /// `luna`: refuses an IV (0x71) and `ulIvBits` of 0; appends an IV of 16 bytes to what it encrypts.
    Luna,
    /// `luna12`: the same, with the length in `ulIvBits`.
    Luna12,
    /// `cloudhsm`: requires 12 bytes of zeros and writes its own IV there, not before `C_Encrypt`. It has no read-only
    /// sessions, and refuses `C_SetAttributeValue`.
    CloudHsm,
    /// `protectserver`: requires the caller's IV, uses one of its own of the same length and appends it.
    ProtectServer,
    /// `v3`: 0x70 from `C_EncryptInit`; `C_EncryptMessage` of PKCS#11 3.0 instead, which makes the IV. Decrypts both
    /// ways. Read when the module is loaded, because its interfaces are requested then.
    V3,
}

/// `refuse-attribute`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedAttribute {
    /// The attribute.
    pub attribute: CK_ATTRIBUTE_TYPE,
    /// Only with this boolean.
    pub value: Option<bool>,
    /// The return value.
    pub answer: CK_RV,
}

impl Control {
    /// Parses a control file.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut control = Self::default();
        for (index, text) in text.lines().enumerate() {
            let text = text.split('#').next().unwrap_or_default().trim();
            if !text.is_empty() {
                control
                    .add(index + 1, text)
                    .map_err(|what| format!("line {}, {text:?}: {what}", index + 1))?;
            }
        }
        Ok(control)
    }
}

/// The current content of the control file.
pub(crate) fn current() -> Arc<Control> {
    static PATH: OnceLock<Option<PathBuf>> = OnceLock::new();
    static CURRENT: Mutex<Option<Arc<Control>>> = Mutex::new(None);
    let path = PATH.get_or_init(|| std::env::var_os(VARIABLE).map(PathBuf::from));
    let place = path.as_deref().map(place_of).unwrap_or_default();
    let mut current = CURRENT.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(control) = current.as_ref().filter(|control| control.place == place) {
        return control.clone();
    }
    let text = match &place.stamp {
        (0, 0, 0) => String::new(),
        _ => std::fs::read_to_string(&place.path).unwrap_or_default(),
    };
    let control = Control::parse(&text).unwrap_or_else(|what| {
        // Also written to the record of calls, because a worker has no stderr.
        crate::calls::record(&format!("control file: {what}"));
        eprintln!("{}: {what}", place.path.display());
        std::process::abort()
    });
    let control = Arc::new(Control { place, ..control });
    *current = Some(control.clone());
    control
}

/// A file beside the control file, if this process was given one.
pub(crate) fn beside(name: &str) -> Option<PathBuf> {
    std::env::var_os(VARIABLE)?;
    Some(current().place.beside(name))
}

fn place_of(path: &Path) -> Place {
    let stamp = path.metadata().map_or((0, 0, 0), |metadata| {
        let time = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        (time, metadata.ino(), metadata.len())
    });
    let path = path.to_owned();
    Place { path, stamp }
}
