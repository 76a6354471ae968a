//! The name of a root key. A root key belongs to one cluster.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

/// 1 to 16 characters of `a` to `z`, `0` to `9` and `-`: short enough for the labels of every token.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RootKeyName(String);

/// The text is not a name of a root key.
#[derive(Debug, thiserror::Error)]
#[error("the name of a root key has 1 to 16 characters, each of a-z, 0-9 or -")]
pub struct NotAName;

impl RootKeyName {
    /// The root key of `serve --dev`.
    pub fn dev() -> Self {
        Self("dev".to_owned())
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RootKeyName {
    type Error = NotAName;

    fn try_from(text: String) -> Result<Self, NotAName> {
        let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if (1..=16).contains(&text.len()) && text.bytes().all(good) {
            Ok(Self(text))
        } else {
            Err(NotAName)
        }
    }
}

impl FromStr for RootKeyName {
    type Err = NotAName;

    fn from_str(text: &str) -> Result<Self, NotAName> {
        text.to_owned().try_into()
    }
}

impl From<RootKeyName> for String {
    fn from(name: RootKeyName) -> Self {
        name.0
    }
}

impl fmt::Display for RootKeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_1_to_16_of_its_letters() {
        for good in ["k", "kube-root", "0123456789abcdef"] {
            assert!(good.parse::<RootKeyName>().is_ok(), "{good}");
        }
        for wrong in ["", "Kube", "a.b", "a/b", "0123456789abcdefg", "ä"] {
            assert!(wrong.parse::<RootKeyName>().is_err(), "{wrong}");
        }
    }
}
