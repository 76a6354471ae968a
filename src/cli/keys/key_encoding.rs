//! Parses keys of other systems in their usual encodings. No error quotes any of the input.

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::GeneralPurpose;
use base64::engine::GeneralPurposeConfig;
use zeroize::Zeroizing;

use crate::secret::Key;

/// Bytes of the longest input; every encoding of a key is much shorter.
pub(super) const LIMIT: usize = 4096;
const KEY: usize = 32;

const PADDING_OR_NOT: GeneralPurposeConfig =
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, PADDING_OR_NOT);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, PADDING_OR_NOT);

/// The encoding of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// 64 hexadecimal digits.
    Hex,
    /// Base64 in the standard alphabet, padded or not (RFC 4648, 4).
    Base64,
    /// Base64 in the alphabet for URLs, padded or not (RFC 4648, 5).
    Base64Url,
    /// The bytes themselves.
    Raw,
    /// Printable ASCII characters that are the key's bytes.
    Ascii,
}

impl Form {
    /// In the order in which hints propose them.
    const ALL: [Self; 5] = [Self::Hex, Self::Base64, Self::Base64Url, Self::Ascii, Self::Raw];

    fn flag(self) -> &'static str {
        match self {
            Self::Hex => "--hex",
            Self::Base64 => "--base64",
            Self::Base64Url => "--base64url",
            Self::Raw => "--raw",
            Self::Ascii => "--ascii",
        }
    }
}

/// The input is not a key in this encoding.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct NotAKey {
    what: String,
    hint: Option<String>,
}

impl NotAKey {
    /// For a key on the command line in place of a file name.
    pub(super) fn on_the_command_line() -> Self {
        Self {
            what: "FILE does not exist, and looks like a key: a key must not be on the command line".into(),
            hint: Some("it is now in the history of your shell: create a new key, in a file".into()),
        }
    }
}

impl fmt::Display for NotAKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, hint } = self;
        f.write_str(what)?;
        match hint {
            Some(hint) => write!(f, "; {hint}"),
            None => Ok(()),
        }
    }
}

/// Whether these bytes are a key in any encoding.
pub(super) fn is_key(bytes: &[u8]) -> bool {
    Form::ALL.iter().any(|form| decode(*form, bytes).is_ok())
}

/// Parses a key. Text encodings may have one line break at the end.
///
/// # Errors
/// The bytes are not a key in this encoding. The error describes them without quoting them.
pub fn parse(form: Form, bytes: &[u8]) -> Result<Key, NotAKey> {
    let key = decode(form, bytes).map_err(|what| NotAKey {
        what,
        hint: hint(form, bytes),
    })?;
    let [first, rest @ ..] = key.expose();
    if rest.iter().all(|byte| byte == first) {
        return Err(NotAKey {
            what: "all 32 bytes are the same: this is not a key".into(),
            hint: None,
        });
    }
    Ok(key)
}

fn decode(form: Form, bytes: &[u8]) -> Result<Key, String> {
    if bytes.is_empty() {
        return Err("32 bytes are needed, this is empty".into());
    }
    let text = line(bytes);
    match form {
        Form::Hex => hex(text),
        Form::Base64 => base64(&STANDARD, "base64", text),
        Form::Base64Url => base64(&URL_SAFE, "base64 for URLs", text),
        Form::Raw => Key::copied_from(bytes).ok_or_else(|| format!("32 bytes are needed, this is {}", bytes.len())),
        Form::Ascii => ascii(text),
    }
}

/// The bytes without one line break at the end.
fn line(bytes: &[u8]) -> &[u8] {
    let line = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    line.strip_suffix(b"\r").unwrap_or(line)
}

fn hex(text: &[u8]) -> Result<Key, String> {
    if let Some(place) = text.iter().position(|byte| !byte.is_ascii_hexdigit()) {
        return Err(format!("character {} is not a hexadecimal digit", place + 1));
    }
    let digits = text.len();
    if digits % 2 == 1 {
        return Err(format!(
            "32 bytes are needed, which are 64 hexadecimal digits; these are {digits}"
        ));
    }
    Key::try_filled(|place| hex::decode_to_slice(text, place)).map_err(|_| {
        format!(
            "32 bytes are needed, this is {} ({digits} hexadecimal digits)",
            digits / 2
        )
    })
}

fn base64(engine: &GeneralPurpose, name: &str, text: &[u8]) -> Result<Key, String> {
    let mut bytes = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
    let length = engine
        .decode_slice(text, &mut bytes)
        .map_err(|_| format!("this is not {name}"))?;
    let decoded = bytes.get(..length).unwrap_or_default();
    Key::copied_from(decoded).ok_or_else(|| {
        format!(
            "32 bytes are needed, this is {length} ({} characters of {name})",
            text.len()
        )
    })
}

fn ascii(text: &[u8]) -> Result<Key, String> {
    if let Some(place) = text.iter().position(|byte| !byte.is_ascii_graphic()) {
        return Err(format!("byte {} is not a printable ASCII character", place + 1));
    }
    Key::copied_from(text).ok_or_else(|| format!("32 characters are needed, these are {}", text.len()))
}

/// A hint at another encoding in which the bytes are a key, if there is one.
fn hint(form: Form, bytes: &[u8]) -> Option<String> {
    let text = line(bytes);
    let is_hex = text.iter().all(u8::is_ascii_hexdigit);
    if form == Form::Hex && text.len() == KEY && is_hex {
        return Some("these 32 characters are hexadecimal: --ascii uses them as bytes, --hex needs 64 digits".into());
    }
    // A usual mistake: the key with a line break behind it.
    if form == Form::Raw && text.len() == KEY && bytes.len() > KEY && text.is_ascii() {
        return Some("without the line break it would be 32: --ascii accepts that".into());
    }
    let fits = |other: &&Form| **other != form && decode(**other, bytes).is_ok();
    Form::ALL
        .iter()
        .find(fits)
        .map(|other| format!("{} reads it as 32 bytes", other.flag()))
}

#[cfg(test)]
mod tests;
