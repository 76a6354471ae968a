//! The record of PINs as bytes: an entry for each token.
//!
//! ```json
//! {
//!   "apiVersion": "dekhand/pins/v1",
//!   "tokens": [
//!     {
//!       "token": "what names the token",
//!       "salt": "32 hexadecimal digits",
//!       "worked": [{"bits": 171, "stamp": {"device": 1, "inode": 2, "changed": [3, 4], "length": 4}}],
//!       "rejected": [{"hash": "64 hexadecimal digits", "stamp": {"device": 1, "inode": 2, "changed": [3, 4], "length": 4}}],
//!       "begun": [{"bits": 171, "stamp": {"device": 1, "inode": 2, "changed": [3, 4], "length": 4}, "logins": 1}]
//!     }
//!   ]
//! }
//! ```

use std::borrow::Cow;

use serde::Deserialize;
use serde::Deserializer;
use serde::Serialize;
use serde::Serializer;

use crate::files::stamp::Stamp;
use crate::secret::NoRandomness;
use crate::secret::random_bytes;
use crate::token::state_file::StateFileFlaw;
use crate::token::state_file::check_version;

pub(super) const API_VERSION: &str = "dekhand/pins/v1";

/// The most tokens; the one that was written longest ago is dropped first.
const MOST_TOKENS: usize = 64;

/// The content of the record.
#[derive(Debug, Default)]
pub(super) struct PinHistoryContent {
    tokens: Vec<PinLine>,
}

/// The entry of a token.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PinLine {
    token: String,
    /// One salt for all of a token's PINs, so that one hash is compared with all of them.
    pub(super) salt: Salt,
    pub(super) worked: Vec<Worked>,
    pub(super) rejected: Vec<Rejected>,
    /// Added later than the other fields: a file without it is valid.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) begun: Vec<BegunLogin>,
}

/// A PIN that the token has accepted.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Worked {
    pub(super) bits: u8,
    pub(super) stamp: Stamp,
}

/// A PIN that the token has rejected.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Rejected {
    pub(super) hash: Hash,
    pub(super) stamp: Stamp,
}

/// A PIN with begun logins whose outcome is unknown. It may be the right PIN, so the file has no more of it than of one
/// that has worked.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct BegunLogin {
    pub(super) bits: u8,
    pub(super) stamp: Stamp,
    pub(super) logins: u8,
}

/// Bytes, as hexadecimal digits in the file.
#[derive(Debug)]
pub(super) struct Hex<const N: usize>(pub(super) [u8; N]);

pub(super) type Salt = Hex<16>;
pub(super) type Hash = Hex<32>;

impl<const N: usize> Serialize for Hex<N> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&hex::encode(self.0))
    }
}

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(deserializer)?;
        let mut bytes = [0; N];
        hex::decode_to_slice(text.as_bytes(), &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Self(bytes))
    }
}

impl PinHistoryContent {
    pub(super) fn line(&self, token: &str) -> Option<&PinLine> {
        self.tokens.iter().find(|line| line.token == token)
    }

    /// Changes the entry of a token, which is created if it is missing, and moves it to the end.
    pub(super) fn change(&mut self, token: &str, change: impl FnOnce(&mut PinLine)) -> Result<(), NoRandomness> {
        let mut line = match self.tokens.iter().position(|line| line.token == token) {
            Some(place) => self.tokens.remove(place),
            None => PinLine {
                token: token.to_owned(),
                salt: Hex(random_bytes()?),
                worked: Vec::new(),
                rejected: Vec::new(),
                begun: Vec::new(),
            },
        };
        change(&mut line);
        self.tokens.push(line);
        keep_last(&mut self.tokens, MOST_TOKENS);
        Ok(())
    }
}

/// Drops the oldest; new entries are at the end.
pub(super) fn keep_last<T>(list: &mut Vec<T>, most: usize) {
    list.drain(..list.len().saturating_sub(most));
}

/// The file's format.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct File {
    api_version: String,
    tokens: Vec<PinLine>,
}

/// Reads what [`encode`] writes.
pub(super) fn decode(bytes: &[u8]) -> Result<PinHistoryContent, StateFileFlaw> {
    check_version(bytes, API_VERSION)?;
    let File { api_version: _, tokens } = serde_json::from_slice(bytes)?;
    Ok(PinHistoryContent { tokens })
}

/// The file's bytes.
pub(super) fn encode(content: PinHistoryContent) -> serde_json::Result<Vec<u8>> {
    let PinHistoryContent { tokens } = content;
    let api_version = API_VERSION.to_owned();
    serde_json::to_vec_pretty(&File { api_version, tokens })
}
