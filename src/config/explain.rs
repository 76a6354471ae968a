//! Turns the parser's errors into messages that an operator can act on.

use std::path::Path;

use serde_path_to_error::Segment;

use crate::config::error::ConfigError;
use crate::config::error::Fault;
use crate::config::location;
use crate::config::location::Location;
use crate::config::location::PathStep;
use crate::config::preflight::second_document;
use crate::config::spelling::harmless;
use crate::config::spelling::nearest;
use crate::config::spelling::printable;
use crate::config::spelling::quoted_words;

/// The parser's error as a [`ConfigError`]. `known` has all settings, for hints. Values that the parser quotes are left
/// out.
pub(super) fn explain(
    file: &Path,
    text: &str,
    known: &[&str],
    error: serde_path_to_error::Error<serde_yaml::Error>,
) -> ConfigError {
    let mut steps = steps(error.path());
    let error = error.into_inner();
    let message = error.to_string();
    let mut place = Location::of_error(&error);
    let refusal = if message.contains("unknown field `") {
        let (key, expected) = quoted_words(&message, "unknown field");
        // The path does not always include the key itself.
        if steps.last() == Some(&PathStep::Key(key.clone())) {
            steps.pop();
        }
        if !is_beside_a_pin(&steps) {
            steps.push(PathStep::Key(key.clone()));
        }
        unknown_key(&key, &expected, known)
    } else if let Some(refusal) = Fault::within(&message) {
        refusal
    } else if message.contains("missing field `") {
        let (key, _) = quoted_words(&message, "missing field");
        steps.push(PathStep::Key(key));
        Fault::new("this key is missing and has no default")
    } else if message.contains("duplicate field `") {
        let (key, _) = quoted_words(&message, "duplicate field");
        if steps.last() == Some(&PathStep::Key(key.clone())) {
            steps.pop();
        }
        place = location::of_key(text, &steps, &key, 1).or(place);
        steps.push(PathStep::Key(key));
        Fault::new("this key is given twice")
    } else if message.contains("more than one document") {
        place = second_document(text);
        Fault::new("expected one YAML document, found a second one")
    } else if message.contains("invalid type") || message.contains("invalid value") {
        Fault::new("expected a key that is a plain word")
    } else {
        let refusal = Fault::new(format!("this is not YAML: {}", without_place(&message)));
        if message.contains("cannot start any token") {
            refusal.hint("put a text that begins with `@` or a backtick in quotes")
        } else {
            refusal
        }
    };
    ConfigError::new(file, bounded(refusal)).at(place).under(&steps)
}

fn steps(path: &serde_path_to_error::Path) -> Vec<PathStep> {
    path.iter()
        .filter_map(|segment| match segment {
            Segment::Seq { index } => Some(PathStep::Index(*index)),
            Segment::Map { key } => Some(PathStep::Key(printable(key))),
            Segment::Enum { .. } | Segment::Unknown => None,
        })
        .collect()
}

/// Whether a key of this section may be a PIN, written in place of its source, as in `pin: {1234}`.
fn is_beside_a_pin(section: &[PathStep]) -> bool {
    let is = |step: &PathStep| matches!(step, PathStep::Key(key) if key == "pin" || key == "admin");
    section.last().is_some_and(is)
}

fn unknown_key(key: &str, expected: &[String], known: &[&str]) -> Fault {
    let list: Vec<_> = expected.iter().map(|key| format!("`{key}`")).collect();
    let refusal = Fault::new(format!("there is no such key; expected {}", list.join(", ")));
    if let Some(near) = nearest(key, expected.iter().map(String::as_str)) {
        return refusal.hint(format!("did you mean `{near}`?"));
    }
    // The key may belong to another section.
    let here = |setting: &&&str| setting.rsplit(['.', ']']).next() == Some(key);
    match known.iter().find(here) {
        Some(setting) => refusal.hint(format!("did you mean `{setting}`?")),
        None => refusal,
    }
}

/// The parser's message without its places, which dekhand names itself.
fn without_place(message: &str) -> String {
    let words = match message.split_once(" at line ") {
        Some((before, after)) => {
            let context = after.split_once(',').map(|(_, context)| context).unwrap_or_default();
            if context.is_empty() {
                before.to_owned()
            } else {
                format!("{before},{context}")
            }
        }
        None => message.to_owned(),
    };
    words.chars().flat_map(harmless).collect()
}

fn bounded(refusal: Fault) -> Fault {
    let Fault { problem, hint } = refusal;
    let problem = problem.chars().take(1000).collect();
    Fault { problem, hint }
}
