//! The shapes of a configuration's values: texts, numbers, sections, lists; null and every other shape are refused.

use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde::de::Deserializer;
use serde::de::Error;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;
use serde::de::value::MapAccessDeserializer;
use serde::de::value::SeqAccessDeserializer;

use crate::config::error::Fault;

/// The parser's result where a value was expected.
#[derive(Debug)]
pub(super) enum YamlNode<'a> {
    Text(&'a str),
    Number(u64),
    Flag(bool),
    /// Something that is never valid as a single value, by its name in messages.
    Other(&'static str),
}

/// A value is wrong. There may be a hint.
#[derive(Debug, Default)]
pub(super) struct Wrong(pub(super) Option<String>);

impl Wrong {
    pub(super) fn hint(hint: impl Into<String>) -> Self {
        Self(Some(hint.into()))
    }
}

/// A type of value, with its description for messages.
pub(super) trait FromYaml: Sized {
    /// The name of a text that is not a valid value.
    const WRONG_TEXT: &str = "another text";

    /// The valid values, for "expected ...".
    fn expected() -> String;

    /// Reads a single value.
    fn read(_found: &YamlNode<'_>) -> Result<Self, Wrong> {
        Err(Wrong::default())
    }

    /// Reads the value from a section.
    fn read_section<'de, A: MapAccess<'de>>(_map: A) -> Result<Self, A::Error> {
        read(&YamlNode::Other("a section"))
    }

    /// Reads the value from a list.
    fn read_list<'de, A: SeqAccess<'de>>(_list: A) -> Result<Self, A::Error> {
        read(&YamlNode::Other("a list"))
    }
}

fn read<T: FromYaml, E: Error>(found: &YamlNode<'_>) -> Result<T, E> {
    T::read(found).map_err(|Wrong(hint)| {
        let found = match found {
            YamlNode::Text(_) => T::WRONG_TEXT,
            YamlNode::Number(_) => "a number",
            YamlNode::Flag(_) => "true or false",
            YamlNode::Other(name) => name,
        };
        let problem = format!("expected {}, found {found}", T::expected());
        E::custom(Fault { problem, hint })
    })
}

struct ValueVisitor<T>(PhantomData<T>);

impl<'de, T: FromYaml> Visitor<'de> for ValueVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&T::expected())
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        read(&YamlNode::Text(text))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
        read(&YamlNode::Number(number))
    }

    fn visit_bool<E: Error>(self, flag: bool) -> Result<T, E> {
        read(&YamlNode::Flag(flag))
    }

    fn visit_i64<E: Error>(self, _: i64) -> Result<T, E> {
        read(&YamlNode::Other("a negative number"))
    }

    fn visit_i128<E: Error>(self, _: i128) -> Result<T, E> {
        read(&YamlNode::Other("a negative number"))
    }

    fn visit_u128<E: Error>(self, _: u128) -> Result<T, E> {
        read(&YamlNode::Other("a larger number"))
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<T, E> {
        read(&YamlNode::Other("a fraction"))
    }

    fn visit_unit<E: Error>(self) -> Result<T, E> {
        read(&YamlNode::Other("nothing"))
    }

    fn visit_none<E: Error>(self) -> Result<T, E> {
        read(&YamlNode::Other("nothing"))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::read_section(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<T, A::Error> {
        T::read_list(list)
    }
}

/// A required value.
#[derive(Debug)]
pub(super) struct Required<T>(pub(super) T);

impl<'de, T: FromYaml> Deserialize<'de> for Required<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor(PhantomData)).map(Self)
    }
}

/// A value that may be left out. Null is refused.
#[derive(Debug)]
pub(super) struct Optional<T>(pub(super) Option<T>);

impl<T> Default for Optional<T> {
    fn default() -> Self {
        Self(None)
    }
}

impl<'de, T: FromYaml> Deserialize<'de> for Optional<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = deserializer.deserialize_any(ValueVisitor(PhantomData))?;
        Ok(Self(Some(value)))
    }
}

/// A section: keys and values.
#[derive(Debug, Default)]
pub(super) struct Section<T>(pub(super) T);

impl<T: DeserializeOwned> FromYaml for Section<T> {
    const WRONG_TEXT: &str = "a text";

    fn expected() -> String {
        "a section of `key: value` lines".to_owned()
    }

    fn read_section<'de, A: MapAccess<'de>>(map: A) -> Result<Self, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Self)
    }
}

impl<'de, T: DeserializeOwned> Deserialize<'de> for Section<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor(PhantomData))
    }
}

/// `LEAST` (0 or 1) to `MOST` items in their order.
#[derive(Debug)]
pub(super) struct List<T, const LEAST: usize, const MOST: usize>(pub(super) Vec<T>);

impl<T: DeserializeOwned, const LEAST: usize, const MOST: usize> FromYaml for List<T, LEAST, MOST> {
    const WRONG_TEXT: &str = "a text";

    fn expected() -> String {
        format!("a list of {LEAST} to {MOST} items")
    }

    fn read_list<'de, A: SeqAccess<'de>>(list: A) -> Result<Self, A::Error> {
        let items = Vec::deserialize(SeqAccessDeserializer::new(list))?;
        match items.len() {
            0 if LEAST > 0 => read(&YamlNode::Other("an empty list")),
            length if length > MOST => read(&YamlNode::Other("a longer list")),
            _ => Ok(Self(items)),
        }
    }
}
