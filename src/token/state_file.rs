//! The version field of the JSON files that the state directory holds for tokens.

use serde::Deserialize;

/// Parsed first, whatever else the file contains, to distinguish another release's file from a damaged one.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Head {
    api_version: String,
}

/// The reason why a file is not usable.
#[derive(Debug)]
pub(crate) enum StateFileFlaw {
    /// The file is not valid.
    Damaged(serde_json::Error),
    /// Another release wrote it.
    ApiVersion(String),
}

impl From<serde_json::Error> for StateFileFlaw {
    fn from(error: serde_json::Error) -> Self {
        Self::Damaged(error)
    }
}

/// Checks that the file has this version. The error has another version in printable form.
pub(crate) fn check_version(bytes: &[u8], expected: &str) -> Result<(), StateFileFlaw> {
    let Head { api_version } = serde_json::from_slice(bytes)?;
    if api_version == expected {
        return Ok(());
    }
    let printable = api_version.chars().take(40).flat_map(char::escape_debug).collect();
    Err(StateFileFlaw::ApiVersion(printable))
}
