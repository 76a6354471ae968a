//! The format of the keyring file. The parser leaves no copies of keys in memory, and detects every change of the file.
//!
//! ```json
//! {
//!   "apiVersion": "dekhand/keyring/v1",
//!   "name": "kube-root",
//!   "versions": [
//!     {
//!       "number": 1,
//!       "id": "16 to 64 hexadecimal digits",
//!       "state": "active",
//!       "since": "2026-03-01T12:00:00Z",
//!       "origin": "generated",
//!       "key": "64 hexadecimal digits"
//!     }
//!   ],
//!   "digest": "64 hexadecimal digits, see the module `digest`"
//! }
//! ```
//!
//! `state` is `pending` (then there is no `since`), `active` or `retired`; `origin` is `generated` or `imported`. Every
//! field is required, and no other field is allowed. No string has a backslash, since the parser would copy such a
//! string to memory that is not wiped. Ids are unique; numbers need not be. An error never quotes the file.

use std::str;

use serde::Deserialize;
use serde::Serialize;
use subtle::ConstantTimeEq as _;
use zeroize::Zeroizing;

use crate::backend::keyring::content::KeyringContent;
use crate::backend::keyring::content::KeyringEntry;
use crate::backend::keyring::content::Origin;
use crate::backend::keyring::digest::digest;
use crate::clock::Timestamp;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::secret::Key;

/// The limit of a keyring file, in bytes.
pub(super) const LARGEST: u64 = 4 * 1024 * 1024;
/// The limit of versions in a keyring: two of each number, since two can be made at once.
pub(super) const MOST_VERSIONS: usize = 2 * 9999;

const API_VERSION: &str = "dekhand/keyring/v1";
const API_FAMILY: &str = "dekhand/keyring/v";

/// An upper bound of the file's bytes without its versions.
const ROOM: usize = 1024;
/// An upper bound of the bytes of a version; the longest has 291.
const ROOM_PER_VERSION: usize = 384;

/// Why bytes are not a keyring.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum KeyringFlaw {
    /// The format of a newer release, with this number.
    #[error("it has the format v{0}")]
    Newer(u32),
    /// The parser failed here.
    #[error("line {line}, column {column}: {what}")]
    Unreadable {
        line: usize,
        column: usize,
        what: &'static str,
    },
    /// Any other fault of the whole file.
    #[error("{0}")]
    Wrong(&'static str),
    /// One version is invalid.
    #[error("version {place} of {count}: {what}")]
    Version {
        place: usize,
        count: usize,
        what: &'static str,
    },
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File<'a> {
    api_version: &'a str,
    name: &'a str,
    #[serde(borrow)]
    versions: Vec<Line<'a>>,
    digest: &'a str,
}

/// Read first, ignoring all other fields, to tell a newer file from a damaged one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head<'a> {
    #[serde(borrow)]
    api_version: &'a str,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    number: Number,
    id: KeyId,
    state: StateName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    since: Option<Timestamp>,
    origin: Origin,
    key: &'a str,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum StateName {
    Pending,
    Active,
    Retired,
}

/// Reads a keyring.
///
/// # Errors
/// The bytes are not what [`encode`] writes, spaces and line ends apart.
pub(super) fn decode(bytes: &[u8]) -> Result<KeyringContent, KeyringFlaw> {
    if bytes.contains(&b'\\') {
        return Err(KeyringFlaw::Wrong("a string has a backslash"));
    }
    let Head { api_version } = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    if api_version != API_VERSION {
        let number = api_version.strip_prefix(API_FAMILY).and_then(|text| text.parse().ok());
        return Err(match number {
            Some(number) if number > 1 => KeyringFlaw::Newer(number),
            _ => KeyringFlaw::Wrong("apiVersion is not that of a keyring"),
        });
    }
    let File {
        api_version: _,
        name,
        versions,
        digest: written,
    } = serde_json::from_slice(bytes).map_err(|error| unreadable(&error))?;
    let name: RootKeyName = name
        .parse()
        .map_err(|_| KeyringFlaw::Wrong("`name` is not the name of a root key"))?;
    let count = versions.len();
    if count > MOST_VERSIONS {
        return Err(KeyringFlaw::Wrong("it has too many versions"));
    }
    let mut content = KeyringContent::empty(name);
    content.entries.reserve_exact(count);
    for (index, line) in versions.into_iter().enumerate() {
        let place = index + 1;
        content
            .entries
            .push(entry(line).map_err(|what| KeyringFlaw::Version { place, count, what })?);
    }
    let mut ids: Vec<&KeyId> = content.entries.iter().map(|entry| &entry.version.id).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| matches!(pair, [one, other] if one == other)) {
        return Err(KeyringFlaw::Wrong("two versions have one id"));
    }
    let mut expected = [0; 32];
    hex::decode_to_slice(written, &mut expected)
        .map_err(|_| KeyringFlaw::Wrong("`digest` is not 64 hexadecimal digits"))?;
    if digest(&content).ct_eq(&expected).into() {
        Ok(content)
    } else {
        Err(KeyringFlaw::Wrong("the digest does not match"))
    }
}

fn entry(line: Line<'_>) -> Result<KeyringEntry, &'static str> {
    let Line {
        number,
        id,
        state,
        since,
        origin,
        key,
    } = line;
    let state = match (state, since) {
        (StateName::Pending, None) => State::Pending,
        (StateName::Active, Some(moment)) => State::ActiveFrom(moment),
        (StateName::Retired, Some(moment)) => State::RetiredSince(moment),
        (StateName::Pending, Some(_)) => return Err("it is pending and has a date"),
        (StateName::Active | StateName::Retired, None) => return Err("it has no date"),
    };
    let key =
        Key::try_filled(|place| hex::decode_to_slice(key, place)).map_err(|_| "`key` is not 64 hexadecimal digits")?;
    let version = Version { number, state, id };
    Ok(KeyringEntry { version, origin, key })
}

fn unreadable(error: &serde_json::Error) -> KeyringFlaw {
    KeyringFlaw::Unreadable {
        line: error.line(),
        column: error.column(),
        // Not the parser's message, which quotes values.
        what: match error.classify() {
            serde_json::error::Category::Eof => "it ends too early",
            serde_json::error::Category::Syntax | serde_json::error::Category::Io => "this is not JSON",
            serde_json::error::Category::Data => "a field is unknown, missing, duplicate, or of the wrong type",
        },
    }
}

/// Writes a keyring into a buffer that is wiped and never grows.
///
/// # Errors
/// The file would be too large, or could not be read again.
pub(super) fn encode(content: &KeyringContent) -> Result<Zeroizing<Vec<u8>>, KeyringFlaw> {
    let KeyringContent { name, entries } = content;
    let too_large = KeyringFlaw::Wrong("it has too many versions");
    if entries.len() > MOST_VERSIONS {
        return Err(too_large);
    }
    let mut keys = Zeroizing::new(vec![0; 64 * entries.len()]);
    for (place, entry) in keys.chunks_exact_mut(64).zip(entries) {
        hex::encode_to_slice(entry.key.expose(), place).map_err(|_| KeyringFlaw::Wrong("a key cannot be written"))?;
    }
    let digest = hex::encode(digest(content));
    let file = File {
        api_version: API_VERSION,
        name: name.as_str(),
        versions: entries
            .iter()
            .zip(keys.chunks_exact(64))
            .map(|(entry, key)| line(entry, key))
            .collect(),
        digest: &digest,
    };
    let mut bytes = Zeroizing::new(vec![0; ROOM + ROOM_PER_VERSION * entries.len()]);
    let mut rest = bytes.as_mut_slice();
    let written = serde_json::to_writer_pretty(&mut rest, &file)
        .map_err(|error| error.to_string())
        .and_then(|()| std::io::Write::write_all(&mut rest, b"\n").map_err(|error| error.to_string()));
    let left = rest.len();
    written.map_err(|_| KeyringFlaw::Wrong("it cannot be written"))?;
    let length = bytes.len() - left;
    bytes.truncate(length);
    if u64::try_from(length).unwrap_or(u64::MAX) > LARGEST {
        return Err(too_large);
    }
    // A file that cannot be read again would lose the keys, for example one with a date after the year 9999.
    match decode(&bytes) {
        Ok(again) if again.same_as(content) => Ok(bytes),
        Ok(_) => Err(KeyringFlaw::Wrong("it could not be read back unchanged")),
        Err(flaw) => Err(flaw),
    }
}

fn line<'a>(entry: &KeyringEntry, key: &'a [u8]) -> Line<'a> {
    let KeyringEntry {
        version: Version { number, state, id },
        origin,
        key: _,
    } = entry;
    Line {
        number: *number,
        id: id.clone(),
        state: match state {
            State::Pending => StateName::Pending,
            State::ActiveFrom(_) => StateName::Active,
            State::RetiredSince(_) => StateName::Retired,
        },
        since: state.moment(),
        origin: *origin,
        // Hexadecimal digits are always UTF-8.
        key: str::from_utf8(key).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests;
