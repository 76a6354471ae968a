//! The types of a configuration's values, with their bounds.

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::de::IntoDeserializer as _;
use serde::de::value;

use crate::config::name::DaemonName;
use crate::config::spelling::nearest;
use crate::config::spelling::quoted_words;
use crate::config::units::MIB;
use crate::config::units::SIZES;
use crate::config::units::duration_text;
use crate::config::units::size_text;
use crate::config::yaml::FromYaml;
use crate::config::yaml::Wrong;
use crate::config::yaml::YamlNode;
use crate::listener::options::SocketAddress;
use crate::root_key::name::RootKeyName;

/// The only version of the schema.
pub(super) const API_VERSION: &str = "dekhand/v1";

pub(super) const QUOTES: &str = "put it in quotes if it is meant as text";

/// The schema's version.
#[derive(Debug)]
pub(super) struct ApiVersion;

impl FromYaml for ApiVersion {
    fn expected() -> String {
        format!("`{API_VERSION}`")
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text(API_VERSION) => Ok(Self),
            _ => Err(Wrong::hint(
                "this release reads no other version of the schema; a newer file needs a newer release",
            )),
        }
    }
}

/// One of the words that `T` deserializes from.
#[derive(Debug)]
pub(super) struct Word<T>(pub(super) T);

impl<T: DeserializeOwned> Word<T> {
    fn parse(word: &str) -> Result<Self, Vec<String>> {
        T::deserialize(word.into_deserializer())
            .map(Self)
            .map_err(|error: value::Error| quoted_words(&error.to_string(), "unknown variant").1)
    }
}

impl<T: DeserializeOwned> FromYaml for Word<T> {
    fn expected() -> String {
        let words = Self::parse("").err().unwrap_or_default();
        let words: Vec<_> = words.iter().map(|word| format!("`{word}`")).collect();
        words.join(" or ")
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        let YamlNode::Text(word) = found else {
            return Err(Wrong::default());
        };
        Self::parse(word).map_err(|words| {
            let near = nearest(word, words.iter().map(String::as_str));
            Wrong(near.map(|near| format!("did you mean `{near}`?")))
        })
    }
}

impl FromYaml for DaemonName {
    fn expected() -> String {
        "a name of 1 to 32 of a-z, 0-9 and -, not starting with -".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text(text) => text.parse().map_err(|_| Wrong::default()),
            _ => Err(Wrong::hint(QUOTES)),
        }
    }
}

impl FromYaml for RootKeyName {
    fn expected() -> String {
        "a name of 1 to 16 of a-z, 0-9 and -".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text(text) => text.parse().map_err(|_| Wrong::default()),
            _ => Err(Wrong::hint(QUOTES)),
        }
    }
}

/// An absolute path: it does not depend on the daemon's working directory.
#[derive(Debug)]
pub(super) struct AbsolutePath(pub(super) PathBuf);

impl FromYaml for AbsolutePath {
    fn expected() -> String {
        "an absolute path".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        // PATH_MAX counts the NUL at the end.
        match found {
            YamlNode::Text(text) if Path::new(text).is_absolute() && text.len() < 4096 && !text.contains('\0') => {
                Ok(Self(text.into()))
            }
            YamlNode::Text(text) if text.starts_with('~') => {
                Err(Wrong::hint("`~` is not expanded; write the path out"))
            }
            _ => Err(Wrong::default()),
        }
    }
}

impl FromYaml for SocketAddress {
    fn expected() -> String {
        "an absolute path or `@name`, at most 107 bytes".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Text(text) => text.parse().map_err(|_| {
                let unix = text.strip_prefix("unix://");
                Wrong(unix.map(|_| "leave out `unix://`: only kube-apiserver's endpoint has it".to_owned()))
            }),
            _ => Err(Wrong::default()),
        }
    }
}

/// Permission bits of a socket.
#[derive(Debug)]
pub(super) struct Mode(pub(super) u32);

impl FromYaml for Mode {
    fn expected() -> String {
        "a quoted octal mode from \"0600\" to \"0666\", with read and write for the owner and without execute"
            .to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        let YamlNode::Text(text) = found else {
            return Err(Wrong::hint("write the mode in quotes, such as mode: \"0600\""));
        };
        let octal = (3..=4).contains(&text.len()) && text.bytes().all(|byte| (b'0'..=b'7').contains(&byte));
        match u32::from_str_radix(text, 8) {
            Ok(mode) if octal && mode & 0o600 == 0o600 && mode & !0o666 == 0 => Ok(Self(mode)),
            _ => Err(Wrong::default()),
        }
    }
}

/// The number of a user. To the kernel, the highest number means "none".
#[derive(Debug)]
pub(super) struct Uid(pub(super) u32);

impl FromYaml for Uid {
    fn expected() -> String {
        format!("a uid, a number from 0 to {}", u32::MAX - 1)
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Number(number) => match u32::try_from(*number) {
                Ok(uid) if uid != u32::MAX => Ok(Self(uid)),
                _ => Err(Wrong::default()),
            },
            YamlNode::Text(_) => Err(Wrong::hint("write the user's number, which `id -u NAME` prints")),
            _ => Err(Wrong::default()),
        }
    }
}

/// The number of a group. To the kernel, the highest number means "none".
#[derive(Debug)]
pub(super) struct Gid(pub(super) u32);

impl FromYaml for Gid {
    fn expected() -> String {
        format!("a gid, a number from 0 to {}", u32::MAX - 1)
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Number(number) => match u32::try_from(*number) {
                Ok(gid) if gid != u32::MAX => Ok(Self(gid)),
                _ => Err(Wrong::default()),
            },
            YamlNode::Text(_) => Err(Wrong::hint(
                "write the group's number, which `getent group NAME` prints",
            )),
            _ => Err(Wrong::default()),
        }
    }
}

/// `true` or `false`.
#[derive(Debug)]
pub(super) struct Flag(pub(super) bool);

impl FromYaml for Flag {
    fn expected() -> String {
        "`true` or `false`".to_owned()
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Flag(flag) => Ok(Self(*flag)),
            _ => Err(Wrong::default()),
        }
    }
}

/// A whole number between inclusive bounds.
#[derive(Debug)]
pub(super) struct Whole<const LEAST: u64, const MOST: u64>(pub(super) u64);

impl<const LEAST: u64, const MOST: u64> FromYaml for Whole<LEAST, MOST> {
    fn expected() -> String {
        format!("a whole number from {LEAST} to {MOST}")
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        match found {
            YamlNode::Number(number) if (LEAST..=MOST).contains(number) => Ok(Self(*number)),
            _ => Err(Wrong::default()),
        }
    }
}

/// A duration between inclusive bounds in seconds.
#[derive(Debug)]
pub(super) struct Span<const LEAST: u64, const MOST: u64>(pub(super) Duration);

impl<const LEAST: u64, const MOST: u64> FromYaml for Span<LEAST, MOST> {
    fn expected() -> String {
        let [least, most] = [LEAST, MOST].map(|seconds| duration_text(Duration::from_secs(seconds)));
        format!("a duration from {least} to {most}, such as `24h`, `30d` or `90s`")
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        let duration = match found {
            YamlNode::Number(0) => Duration::ZERO,
            YamlNode::Number(_) => return Err(Wrong::hint("write the unit behind the number")),
            YamlNode::Text(text) => humantime::parse_duration(text).map_err(|_| Wrong::default())?,
            _ => return Err(Wrong::default()),
        };
        if (Duration::from_secs(LEAST)..=Duration::from_secs(MOST)).contains(&duration) {
            Ok(Self(duration))
        } else {
            Err(Wrong::default())
        }
    }
}

/// A size in bytes between inclusive bounds in MiB.
#[derive(Debug)]
pub(super) struct Size<const LEAST: u64, const MOST: u64>(pub(super) u64);

impl<const LEAST: u64, const MOST: u64> FromYaml for Size<LEAST, MOST> {
    fn expected() -> String {
        let [least, most] = [LEAST, MOST].map(|size| size_text(size * MIB));
        format!("a size from {least} to {most}, such as `512MiB` or `1GiB`")
    }

    fn read(found: &YamlNode<'_>) -> Result<Self, Wrong> {
        const UNIT: &str = "write the unit behind the number: KiB, MiB or GiB";
        let text = match found {
            YamlNode::Text(text) => text,
            YamlNode::Number(_) => return Err(Wrong::hint(UNIT)),
            _ => return Err(Wrong::default()),
        };
        let digits = text.trim_end_matches(|character: char| !character.is_ascii_digit());
        let unit = text.strip_prefix(digits).map(str::trim_start).unwrap_or_default();
        let (_, unit) = SIZES
            .iter()
            .find(|(name, _)| *name == unit)
            .ok_or_else(|| Wrong::hint(UNIT))?;
        let number = digits.parse::<u64>().map_err(|_| Wrong::default())?;
        let size = number.checked_mul(*unit).ok_or_else(Wrong::default)?;
        if (LEAST * MIB..=MOST * MIB).contains(&size) {
            Ok(Self(size))
        } else {
            Err(Wrong::default())
        }
    }
}
