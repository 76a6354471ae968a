//! Numbered versions of a root key, their states and their order.

use std::fmt;
use std::str::FromStr;

use serde::Deserialize;
use serde::Serialize;

use crate::clock::Timestamp;
use crate::root_key::id::KeyId;

/// The number of a version: 1 to 9999.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u16", into = "u16")]
pub struct Number(u16);

/// A number is not 1 to 9999.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version number is 1 to 9999")]
pub struct NotANumber;

impl Number {
    /// The number of a root key's first version.
    pub const FIRST: Self = Self(1);

    /// The number after this one, if there is one.
    pub fn next(self) -> Option<Self> {
        Self::try_from(self.0 + 1).ok()
    }
}

impl TryFrom<u16> for Number {
    type Error = NotANumber;

    fn try_from(number: u16) -> Result<Self, NotANumber> {
        if (1..=9999).contains(&number) {
            Ok(Self(number))
        } else {
            Err(NotANumber)
        }
    }
}

impl From<Number> for u16 {
    fn from(number: Number) -> Self {
        number.0
    }
}

impl fmt::Display for Number {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "v{}", self.0)
    }
}

/// The state of a version: whether it encrypts and decrypts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum State {
    /// Decrypts. Has no date yet, and cannot encrypt without one.
    Pending,
    /// Decrypts. Encrypts from this moment on, unless a higher version does.
    ActiveFrom(Timestamp),
    /// Has not decrypted since this moment.
    RetiredSince(Timestamp),
}

impl State {
    /// Whether payloads of the version are opened.
    pub fn decrypts(self) -> bool {
        !matches!(self, Self::RetiredSince(_))
    }

    /// Whether the version's date has passed.
    pub fn is_active(self, now: Timestamp) -> bool {
        matches!(self, Self::ActiveFrom(moment) if moment <= now)
    }

    /// Whether the version is not active yet: it has no date, or a future one.
    pub fn is_pending(self, now: Timestamp) -> bool {
        match self {
            Self::Pending => true,
            Self::ActiveFrom(moment) => moment > now,
            Self::RetiredSince(_) => false,
        }
    }

    /// The date of the state, if it has one.
    pub fn moment(self) -> Option<Timestamp> {
        match self {
            Self::Pending => None,
            Self::ActiveFrom(moment) | Self::RetiredSince(moment) => Some(moment),
        }
    }
}

/// One version of a root key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Version {
    /// Its number.
    pub number: Number,
    /// Its state.
    pub state: State,
    /// Its permanent id.
    pub id: KeyId,
}

impl Version {
    /// Its place in the order of versions: by number, then by id. Neither ever changes, so the order of two versions
    /// cannot change after a node has reported one of them. Dates are not part of the order: commands change them.
    pub fn rank(&self) -> (Number, &KeyId) {
        (self.number, &self.id)
    }
}

/// How an operator names a version: `v2`, `2`, or its id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selector {
    /// By number.
    Number(Number),
    /// By id.
    Id(KeyId),
}

impl Selector {
    /// Whether it names `version`.
    pub fn names(&self, version: &Version) -> bool {
        match self {
            Self::Number(number) => version.number == *number,
            Self::Id(id) => version.id == *id,
        }
    }
}

/// The text does not name a version.
#[derive(Debug, thiserror::Error)]
#[error("not a version: expected `v2`, `2`, or an id of 16 to 64 hexadecimal digits")]
pub struct NotASelector;

impl FromStr for Selector {
    type Err = NotASelector;

    fn from_str(text: &str) -> Result<Self, NotASelector> {
        let digits = text.strip_prefix('v').unwrap_or(text);
        if digits.len() <= 4 {
            let number = digits.parse::<u16>().map_err(|_| NotASelector)?;
            return Number::try_from(number).map(Self::Number).map_err(|_| NotASelector);
        }
        text.parse().map(Self::Id).map_err(|_| NotASelector)
    }
}

impl fmt::Display for Selector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(number) => number.fmt(f),
            Self::Id(id) => id.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn version(number: u16, state: State, id: u8) -> Version {
        let id = KeyId::try_from([id; 8].as_slice()).unwrap();
        Version {
            number: Number::try_from(number).unwrap(),
            state,
            id,
        }
    }

    #[test]
    fn versions_are_ordered_by_number_then_id_whatever_their_states() {
        let at = |second| State::ActiveFrom(Timestamp::from_unix(second));
        let ordered = [
            version(1, at(900), 9),
            version(2, at(200), 1),
            version(2, at(100), 2),
            version(2, State::Pending, 3),
            version(2, State::RetiredSince(Timestamp::from_unix(50)), 4),
            version(10, at(0), 0),
        ];
        assert!(ordered.windows(2).all(|pair| pair[0].rank() < pair[1].rank()));
    }

    #[test]
    fn a_version_is_named_by_number_or_id() {
        assert_eq!("v2".parse::<Selector>().unwrap(), "2".parse::<Selector>().unwrap());
        assert!(matches!(
            "0011223344556677".parse::<Selector>().unwrap(),
            Selector::Id(_)
        ));
        for wrong in ["", "v", "v0", "10000", "v-1", "latest", "00112233445566"] {
            assert!(wrong.parse::<Selector>().is_err(), "{wrong}");
        }
    }
}
