//! Places in a configuration file: the path of a key, and the line where the parser finds it.

use std::fmt::Write as _;

use serde::de::DeserializeSeed;
use serde::de::Deserializer;
use serde::de::Error;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

/// A place in a text, counted from 1, as editors do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Location {
    /// The line.
    pub line: u32,
    /// The character in the line.
    pub column: u32,
}

impl Location {
    pub(super) fn of_error(error: &serde_yaml::Error) -> Option<Self> {
        let location = error.location()?;
        Some(Self::new(location.line(), location.column()))
    }

    /// The place behind `text`.
    pub(super) fn behind(text: &str) -> Self {
        let line = text.rsplit('\n').next().unwrap_or_default();
        Self::new(text.matches('\n').count() + 1, line.chars().count() + 1)
    }

    /// The character at this place.
    pub(super) fn character(self, text: &str) -> Option<char> {
        let nth = |number: u32| usize::try_from(number).ok()?.checked_sub(1);
        text.lines().nth(nth(self.line)?)?.chars().nth(nth(self.column)?)
    }

    fn new(line: usize, column: usize) -> Self {
        // A configuration is much shorter than that.
        let [line, column] = [line, column].map(|number| u32::try_from(number).unwrap_or(u32::MAX));
        Self { line, column }
    }
}

/// One step of a value's path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum PathStep {
    Key(String),
    Index(usize),
}

/// The steps as they are written in messages: `root_keys[0].name`.
pub(super) fn path_of(steps: &[PathStep]) -> String {
    steps.iter().fold(String::new(), |mut path, step| {
        // Writing into a string cannot fail.
        match step {
            PathStep::Key(key) if path.is_empty() => write!(path, "{key}"),
            PathStep::Key(key) => write!(path, ".{key}"),
            PathStep::Index(index) => write!(path, "[{index}]"),
        }
        .ok();
        path
    })
}

/// The steps of a path as [`path_of`] writes it.
pub(super) fn steps_of(path: &str) -> Vec<PathStep> {
    path.split(['.', '['])
        .map(
            |step| match step.strip_suffix(']').and_then(|index| index.parse().ok()) {
                Some(index) => PathStep::Index(index),
                None => PathStep::Key(step.to_owned()),
            },
        )
        .collect()
}

/// The place of the value at `steps`; `None` if the text does not have it.
pub(super) fn of_value(text: &str, steps: &[PathStep]) -> Option<Location> {
    find(text, &Search { steps, key: None })
}

/// The `nth` place (from 0) of `key` in the section at `steps`.
pub(super) fn of_key(text: &str, steps: &[PathStep], key: &str, nth: usize) -> Option<Location> {
    let key = Some((key, nth));
    find(text, &Search { steps, key })
}

/// The error with which a visitor of this module reports that it has reached the place.
const HERE: &str = "\u{1}here";

/// The parser reports places only in errors, so the visitors fail at the place in question.
fn find(text: &str, target: &Search<'_>) -> Option<Location> {
    let error = target.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    error.to_string().contains(HERE).then(|| Location::of_error(&error))?
}

#[derive(Clone, Copy)]
struct Search<'a> {
    steps: &'a [PathStep],
    key: Option<(&'a str, usize)>,
}

impl<'de> DeserializeSeed<'de> for &Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        match self {
            Search { steps: [], key: None } => deserializer.deserialize_any(Here(|_: &str| true)).map(|_| ()),
            _ => deserializer.deserialize_any(self),
        }
    }
}

impl<'de> Visitor<'de> for &Search<'_> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the way to a value")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Search { steps, key } = *self;
        let (step, rest) = match steps.split_first() {
            Some((PathStep::Key(step), rest)) => (Some(step), rest),
            _ => (None, steps),
        };
        let mut seen = 0;
        let mut fail_at = |found: &str| match key {
            Some((key, nth)) if steps.is_empty() && key == found => {
                seen += 1;
                seen > nth
            }
            _ => false,
        };
        while let Some(found) = map.next_key_seed(Here(&mut fail_at))? {
            if Some(&found) == step {
                return map.next_value_seed(&Search { steps: rest, key });
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Search { steps, key } = *self;
        let Some((PathStep::Index(index), rest)) = steps.split_first() else {
            return Ok(());
        };
        for _ in 0..*index {
            list.next_element::<IgnoredAny>()?;
        }
        list.next_element_seed(&Search { steps: rest, key }).map(|_| ())
    }
}

/// Fails at a text that the predicate selects, and at every value that is not a text.
struct Here<F>(F);

impl<'de, F: FnMut(&str) -> bool> DeserializeSeed<'de> for Here<F> {
    type Value = String;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<String, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<F: FnMut(&str) -> bool> Visitor<'_> for Here<F> {
    type Value = String;

    // The parser's error at a value that is not a text.
    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(HERE)
    }

    fn visit_str<E: Error>(mut self, text: &str) -> Result<String, E> {
        if (self.0)(text) {
            Err(E::custom(HERE))
        } else {
            Ok(text.to_owned())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "a: 1\nb:\n  c:\n    - d: [x]\n    - ä: {}\n      d: null\n  c: 2\n";

    fn value(path: &str) -> Option<(u32, u32)> {
        of_value(TEXT, &steps_of(path)).map(|place| (place.line, place.column))
    }

    #[test]
    fn a_value_is_found_where_an_editor_shows_it() {
        assert_eq!(value("a"), Some((1, 4)));
        assert_eq!(value("b"), Some((3, 3)));
        assert_eq!(value("b.c[0].d"), Some((4, 10)));
        assert_eq!(value("b.c[0].d[0]"), Some((4, 11)));
        assert_eq!(value("b.c[1].ä"), Some((5, 10)));
        assert_eq!(value("b.c[1].d"), Some((6, 10)));
        for missing in ["x", "a.x", "b.c[2]", "b.c[0].x", "b[0]"] {
            assert_eq!(value(missing), None, "{missing}");
        }
    }

    #[test]
    fn the_second_of_two_equal_keys_is_found() {
        let place = of_key(TEXT, &steps_of("b"), "c", 1).unwrap();
        assert_eq!((place.line, place.column), (7, 3));
        assert_eq!(of_key(TEXT, &steps_of("b"), "c", 2), None);
        assert_eq!(of_key(TEXT, &[], "b", 0).unwrap().line, 2);
    }

    #[test]
    fn a_path_is_read_as_it_is_written() {
        for path in ["a", "a.b", "root_keys[12].keyring.file"] {
            assert_eq!(path_of(&steps_of(path)), path);
        }
    }
}
