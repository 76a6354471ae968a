//! A version as `versions:` of a configuration lists it.

use std::fmt;

use serde::Serialize;

use crate::clock::Timestamp;
use crate::root_key::id::KeyId;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::token::options::ListedVersion;
use crate::token::options::ObjectName;

/// The entry of a version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct VersionEntry {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<KeyId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    label: Option<String>,
    number: Number,
    #[serde(skip_serializing_if = "Option::is_none")]
    activates: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    retired: Option<Timestamp>,
}

impl VersionEntry {
    /// The entry of a version that is not listed yet.
    pub(super) fn new(version: &Version) -> Self {
        let (activates, retired) = match version.state {
            State::Pending => (None, None),
            State::ActiveFrom(moment) => (Some(moment), None),
            State::RetiredSince(moment) => (None, Some(moment)),
        };
        Self {
            id: Some(version.id.clone()),
            label: None,
            number: version.number,
            activates,
            retired,
        }
    }

    /// The entry of a version in its new state, by the id or label under which it is listed now, if it is.
    pub(super) fn changed(listed: &[ListedVersion], version: &Version) -> Self {
        let named = |entry: &&ListedVersion| match &entry.object {
            ObjectName::Id(id) => *id == version.id,
            ObjectName::Label(_) => entry.number == version.number,
        };
        let new = Self::new(version);
        let Some(entry) = listed.iter().find(named) else {
            return new;
        };
        let (id, label) = match &entry.object {
            ObjectName::Id(id) => (Some(id.clone()), None),
            ObjectName::Label(label) => (None, Some(label.clone())),
        };
        Self {
            id,
            label,
            // A retired version was active, and may become active again.
            activates: match version.state {
                State::RetiredSince(_) => entry.activates,
                State::Pending | State::ActiveFrom(_) => new.activates,
            },
            ..new
        }
    }
}

impl fmt::Display for VersionEntry {
    /// A line of YAML. Ids and labels are quoted: either may look like a number.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            id,
            label,
            number,
            activates,
            retired,
        } = self;
        f.write_str("- {")?;
        if let Some(id) = id {
            write!(f, "id: \"{id}\", ")?;
        }
        if let Some(label) = label {
            write!(f, "label: {}, ", serde_json::Value::from(label.as_str()))?;
        }
        write!(f, "number: {}", u16::from(*number))?;
        if let Some(moment) = activates {
            write!(f, ", activates: {moment}")?;
        }
        if let Some(moment) = retired {
            write!(f, ", retired: {moment}")?;
        }
        f.write_str("}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "0102030405060708";

    fn version(state: State) -> Version {
        Version {
            number: Number::try_from(2).unwrap(),
            state,
            id: ID.parse().unwrap(),
        }
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn an_entry_is_a_line_of_yaml_whose_id_is_text() {
        let noon = at("2026-03-01T12:00:00Z");
        let line = |state| VersionEntry::new(&version(state)).to_string();
        assert_eq!(line(State::Pending), format!("- {{id: \"{ID}\", number: 2}}"));
        assert_eq!(
            line(State::ActiveFrom(noon)),
            format!("- {{id: \"{ID}\", number: 2, activates: 2026-03-01T12:00:00Z}}")
        );
    }

    #[test]
    fn a_listed_version_keeps_its_name_and_a_retired_one_its_activation() {
        let (morning, noon) = (at("2026-03-01T08:00:00Z"), at("2026-03-01T12:00:00Z"));
        let listed = [ListedVersion {
            object: ObjectName::Label("a \"key\": 7".to_owned()),
            number: Number::try_from(2).unwrap(),
            activates: Some(morning),
            retired: None,
        }];
        let line = |state| VersionEntry::changed(&listed, &version(state)).to_string();
        assert_eq!(
            line(State::RetiredSince(noon)),
            r#"- {label: "a \"key\": 7", number: 2, activates: 2026-03-01T08:00:00Z, retired: 2026-03-01T12:00:00Z}"#
        );
        assert_eq!(line(State::Pending), r#"- {label: "a \"key\": 7", number: 2}"#);
    }
}
