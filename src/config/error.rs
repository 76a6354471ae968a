//! An error in a configuration file: its place, its key, what was expected, and a hint.

use std::fmt;
use std::path::Path;
use std::path::PathBuf;

use crate::config::DEFAULT_FILE;
use crate::config::location::Location;
use crate::config::location::PathStep;
use crate::config::location::path_of;
use crate::files::FileError;

/// A configuration that cannot be used. The error never quotes a value: a secret may be in the wrong place.
#[derive(Debug, thiserror::Error)]
#[error("{}", self.describe())]
pub struct ConfigError {
    /// The file as it was named, or a name in its place.
    pub file: PathBuf,
    /// The place in the file, unless the file as a whole is wrong.
    pub place: Option<Location>,
    /// The path of the key, such as `root_keys[0].keyring.file`; `None` if the file as a whole is wrong.
    pub key: Option<String>,
    /// What is wrong and what was expected.
    pub problem: String,
    /// A hint.
    pub hint: Option<String>,
    /// Why the file cannot be read, if that is the error.
    #[source]
    pub source: Option<Box<FileError>>,
}

impl ConfigError {
    pub(super) fn new(file: &Path, refusal: Fault) -> Self {
        let Fault { problem, hint } = refusal;
        Self {
            file: file.to_owned(),
            place: None,
            key: None,
            problem,
            hint,
            source: None,
        }
    }

    pub(super) fn unreadable(file: &Path, source: FileError) -> Self {
        let refusal = Fault::new("the configuration cannot be read");
        // The default path: the operator named no file.
        let refusal = if file == Path::new(DEFAULT_FILE) && source.is_not_found() {
            refusal.hint("name one with --config FILE (`dekhand config check FILE`), or try `dekhand serve --dev`")
        } else {
            refusal
        };
        Self {
            source: Some(Box::new(source)),
            ..Self::new(file, refusal)
        }
    }

    pub(super) fn at(self, place: Option<Location>) -> Self {
        Self { place, ..self }
    }

    pub(super) fn under(self, key: &[PathStep]) -> Self {
        let key = (!key.is_empty()).then(|| path_of(key));
        Self { key, ..self }
    }

    fn describe(&self) -> String {
        let file = self.file.display();
        let place = self.place.map(|Location { line, column }| format!(":{line}:{column}"));
        let key = self.key.as_ref().map(|key| format!(": `{key}`"));
        let [place, key] = [place, key].map(Option::unwrap_or_default);
        format!("{file}{place}{key}: {}", self.problem)
    }
}

/// Why a part of a file is refused; its place is added later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) problem: String,
    pub(super) hint: Option<String>,
}

/// A refusal, and the path of the value that it is about.
pub(super) type FaultAt = (Vec<PathStep>, Fault);

/// Delimit the parts of a [`Fault`] in a serde error, which is only a text. No message contains these characters.
const MARKS: [char; 3] = ['\u{1}', '\u{2}', '\u{3}'];

impl Fault {
    pub(super) fn new(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
            hint: None,
        }
    }

    pub(super) fn hint(self, hint: impl Into<String>) -> Self {
        Self {
            hint: Some(hint.into()),
            ..self
        }
    }

    /// The refusal inside a parser's message, if there is one.
    pub(super) fn within(message: &str) -> Option<Self> {
        let [start, middle, end] = MARKS;
        let (_, rest) = message.split_once(start)?;
        let (problem, rest) = rest.split_once(middle)?;
        let (hint, _) = rest.split_once(end)?;
        Some(Self {
            problem: problem.to_owned(),
            hint: (!hint.is_empty()).then(|| hint.to_owned()),
        })
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [start, middle, end] = MARKS;
        let Self { problem, hint } = self;
        let hint = hint.as_deref().unwrap_or_default();
        write!(f, "{start}{problem}{middle}{hint}{end}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_default_file_it_is_said_what_else_could_be_done() {
        let missing = |file: &str| {
            let source = FileError::Io {
                action: "open",
                path: file.into(),
                source: std::io::ErrorKind::NotFound.into(),
            };
            ConfigError::unreadable(Path::new(file), source).hint
        };
        let hint = missing(DEFAULT_FILE).unwrap();
        assert!(
            hint.contains("--config FILE") && hint.contains("dekhand serve --dev"),
            "{hint}"
        );
        assert_eq!(missing("/etc/named.yaml"), None, "who names a file knows how to");
    }
}
