//! The name of a daemon.

use std::fmt;
use std::str::FromStr;

/// 1 to 32 of `a` to `z`, `0` to `9` and `-`, not starting with `-`. The name becomes a part of paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonName(String);

/// A text is not a daemon's name.
#[derive(Debug, thiserror::Error)]
#[error("a daemon's name is 1 to 32 of a-z, 0-9 and -, and must not start with -")]
pub struct NotADaemonName;

impl DaemonName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn dev() -> Self {
        Self("dev".to_owned())
    }
}

/// The default name, for the only daemon of a node.
impl Default for DaemonName {
    fn default() -> Self {
        Self("dekhand".to_owned())
    }
}

impl FromStr for DaemonName {
    type Err = NotADaemonName;

    fn from_str(text: &str) -> Result<Self, NotADaemonName> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=32).contains(&text.len()) && text.bytes().all(good) && !text.starts_with('-') {
            Ok(Self(text.to_owned()))
        } else {
            Err(NotADaemonName)
        }
    }
}

impl fmt::Display for DaemonName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
