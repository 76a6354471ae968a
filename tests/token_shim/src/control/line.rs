//! One line of a control file.

use std::time::Duration;

use cryptoki_sys::CK_ATTRIBUTE_TYPE;
use cryptoki_sys::CK_MECHANISM_TYPE;
use cryptoki_sys::CK_RV;
use cryptoki_sys::CKM_AES_CBC;
use cryptoki_sys::CKM_AES_GCM;
use cryptoki_sys::CKM_AES_KEY_GEN;
use cryptoki_sys::CKM_AES_KEY_WRAP_KWP;
use cryptoki_sys::CKM_RSA_PKCS_OAEP;
use cryptoki_sys::CKR_ATTRIBUTE_TYPE_INVALID;
use cryptoki_sys::CKR_MECHANISM_INVALID;
use cryptoki_sys::CKR_SESSION_HANDLE_INVALID;
use cryptoki_sys::CKR_SESSION_PARALLEL_NOT_SUPPORTED;
use cryptoki_sys::CKR_USER_NOT_LOGGED_IN;

use crate::attribute;
use crate::control::Action;
use crate::control::Control;
use crate::control::Fault;
use crate::control::Like;
use crate::control::PinLock;
use crate::control::RefusedAttribute;
use crate::limits::Limits;
use crate::module;

impl Control {
    pub(super) fn add(&mut self, number: usize, text: &str) -> Result<(), String> {
        let mut words: Vec<&str> = text.split_whitespace().collect();
        if text.starts_with("C_") || text.starts_with('*') {
            self.faults.push(fault(number, &mut words)?);
            return Ok(());
        }
        match *words.as_slice() {
            ["sessions", "lost", ref rest @ ..] => {
                self.sessions_lost = Some(value_or(rest, CKR_SESSION_HANDLE_INVALID)?);
            }
            ["logged", "out", ref rest @ ..] => self.logged_out = Some(value_or(rest, CKR_USER_NOT_LOGGED_IN)?),
            ["finds", "nothing", ..] => {
                let limits = Limits::take(&mut words)?;
                end(words.get(2..))?;
                self.finds_nothing = Some((number, limits));
            }
            ["pin", "locks", tries, ref rest @ ..] => {
                let silent = match rest {
                    [] => false,
                    ["silent"] => true,
                    _ => return Err("expected `silent`".into()),
                };
                let tries = self::number(tries)?;
                self.pin = Some(PinLock { tries, silent });
            }
            ["wrong-pin", "hang"] => self.wrong_pin = Some(Action::Hang),
            ["wrong-pin", value] => self.wrong_pin = Some(Action::Fail(self::number(value)?)),
            ["login", "already"] => self.login_already = true,
            ["read-only", "refused", ref rest @ ..] => {
                self.read_only_refused = Some(value_or(rest, CKR_SESSION_PARALLEL_NOT_SUPPORTED)?);
            }
            ["throttle", calls] => {
                self.throttle = Some(calls.parse().map_err(|_| format!("{calls:?}: no number"))?);
            }
            ["decrypt-error", value] => self.decrypt_error = Some(self::number(value)?),
            ["like", name] => self.like = like(name)?,
            ["kwp"] => self.kwp = true,
            ["no", name] => drop(self.hidden.insert(mechanism(name)?)),
            ["refuse", name, ref rest @ ..] => {
                self.refused
                    .push((mechanism(name)?, value_or(rest, CKR_MECHANISM_INVALID)?));
            }
            ["hang", name] => drop(self.hanging.insert(mechanism(name)?)),
            ["exchanged", id, other] => self.exchanged.push((self::id(id)?, self::id(other)?)),
            ["constant-iv"] => self.constant_iv = true,
            ["no-tamper-detection"] => self.no_tamper_detection = true,
            ["weak-template"] => self.weak_template = true,
            ["public-template"] => self.public_template = true,
            ["search-ignores", name] => drop(self.ignored_in_searches.insert(attribute_of(name)?)),
            ["search-refuses", name, ref rest @ ..] => {
                self.refused_in_searches
                    .push((attribute_of(name)?, value_or(rest, CKR_ATTRIBUTE_TYPE_INVALID)?));
            }
            ["refuse-attribute", name, ref rest @ ..] => self.refused_attributes.push(refused(name, rest)?),
            ["hide-attribute", name] => drop(self.hidden_attributes.insert(attribute_of(name)?)),
            ["serial", ref rest @ ..] => self.serial = Some(rest.join(" ")),
            ["odd-clock"] => self.odd_clock = true,
            ["protected-path", pin] => self.protected_path = Some(pin.into()),
            ["vendor-user", value] => self.vendor_user = Some(self::number(value)?),
            _ => return Err("no such line".into()),
        }
        Ok(())
    }
}

fn fault(line: usize, words: &mut Vec<&str>) -> Result<Fault, String> {
    let limits = Limits::take(words)?;
    let action = match *words.get(1..).unwrap_or_default() {
        ["delay", time] => Action::Delay(duration(time)?),
        ["fail", value] => Action::Fail(number(value)?),
        ["hang"] => Action::Hang,
        ["crash"] => Action::Crash,
        ["abort"] => Action::Abort,
        ["exit"] => Action::Exit(0),
        ["exit", code] => Action::Exit(code.parse().map_err(|_| format!("{code:?}: no exit code"))?),
        ["leak", size] => Action::Leak(bytes(size)?),
        ["noise"] => Action::Noise,
        ["flip"] => Action::Flip,
        ["longer"] => Action::Longer,
        ["shorter"] => Action::Shorter,
        _ => return Err("no such action".into()),
    };
    let functions: Vec<String> = match words.first().copied().unwrap_or_default() {
        "*" => Vec::new(),
        names => names.split(',').map(String::from).collect(),
    };
    for name in &functions {
        if !module::has(name) {
            return Err(format!("there is no function {name}"));
        }
    }
    Ok(Fault {
        functions,
        action,
        limits,
        line,
    })
}

fn end(rest: Option<&[&str]>) -> Result<(), String> {
    match rest {
        None | Some([]) => Ok(()),
        Some([word, ..]) => Err(format!("{word:?} was not expected")),
    }
}

fn number(word: &str) -> Result<u64, String> {
    let parsed = match word.strip_prefix("0x") {
        Some(digits) => u64::from_str_radix(digits, 16),
        None => word.parse(),
    };
    parsed.map_err(|_| format!("{word:?}: no number"))
}

fn value_or(words: &[&str], default: CK_RV) -> Result<CK_RV, String> {
    end(words.get(1..))?;
    words.first().map_or(Ok(default), |word| number(word))
}

fn with_unit<'a, T: Copy>(word: &'a str, units: &[(&str, T)]) -> Result<(u64, T), String> {
    let found = units.iter().find_map(|(unit, factor)| {
        let digits: &'a str = word.strip_suffix(unit)?;
        Some((digits.parse().ok()?, *factor))
    });
    found.ok_or_else(|| format!("{word:?}: no number with a unit"))
}

fn duration(word: &str) -> Result<Duration, String> {
    let (count, unit) = with_unit(word, &[("us", 1), ("ms", 1_000), ("s", 1_000_000)])?;
    Ok(Duration::from_micros(count * unit))
}

fn bytes(word: &str) -> Result<usize, String> {
    let (count, unit) = with_unit(word, &[("KiB", 1024), ("MiB", 1024 * 1024)])?;
    usize::try_from(count * unit).map_err(|error| error.to_string())
}

fn like(name: &str) -> Result<Like, String> {
    Ok(match name {
        "luna" => Like::Luna,
        "luna12" => Like::Luna12,
        "cloudhsm" => Like::CloudHsm,
        "protectserver" => Like::ProtectServer,
        "v3" => Like::V3,
        _ => return Err("no such token".into()),
    })
}

fn mechanism(name: &str) -> Result<CK_MECHANISM_TYPE, String> {
    Ok(match name {
        "gcm" => CKM_AES_GCM,
        "kwp" => CKM_AES_KEY_WRAP_KWP,
        "cbc" => CKM_AES_CBC,
        "oaep" => CKM_RSA_PKCS_OAEP,
        "aes-key-gen" => CKM_AES_KEY_GEN,
        other => number(other)?,
    })
}

fn id(word: &str) -> Result<Vec<u8>, String> {
    let byte = |at: usize| {
        word.get(at..at + 2)
            .and_then(|digits| u8::from_str_radix(digits, 16).ok())
    };
    let bytes: Option<Vec<u8>> = (0..word.len()).step_by(2).map(byte).collect();
    bytes.ok_or_else(|| format!("{word:?}: no hexadecimal id"))
}

fn attribute_of(name: &str) -> Result<CK_ATTRIBUTE_TYPE, String> {
    attribute::by_name(name).map_or_else(|| number(name), Ok)
}

fn refused(name: &str, rest: &[&str]) -> Result<RefusedAttribute, String> {
    let (name, value) = match name.split_once('=') {
        None => (name, None),
        Some((name, "true")) => (name, Some(true)),
        Some((name, "false")) => (name, Some(false)),
        Some((_, other)) => return Err(format!("{other:?}: neither true nor false")),
    };
    Ok(RefusedAttribute {
        attribute: attribute_of(name)?,
        value,
        answer: value_or(rest, CKR_ATTRIBUTE_TYPE_INVALID)?,
    })
}
