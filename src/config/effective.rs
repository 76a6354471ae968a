//! The effective configuration: every setting, its value, and the source of the value.

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use crate::config::Config;
use crate::config::location;
use crate::config::location::PathStep;
use crate::config::location::path_of;
use crate::config::overrides::Overrides;
use crate::config::settings::SettingEntry;
use crate::config::settings::entries;

/// Column of the comments; a longer line has its comment directly behind the value.
const WIDEST: usize = 48;

/// The source of a value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "source", rename_all = "lowercase")]
pub enum ValueSource {
    /// The default.
    Default,
    /// The file.
    File {
        /// The line.
        line: u32,
    },
    /// An option of the command line.
    Option {
        /// The option.
        option: &'static str,
    },
}

/// One setting of an effective configuration.
#[derive(Debug, Serialize)]
pub struct Setting {
    /// Its path, such as `root_keys[0].keyring.file`.
    pub key: String,
    /// Its value as the file would have it.
    pub value: Value,
    /// Whether a running daemon applies a new value.
    pub reloadable: bool,
    /// The source of the value.
    #[serde(flatten)]
    pub source: ValueSource,
    #[serde(skip)]
    steps: Vec<PathStep>,
}

/// A whole effective configuration.
#[derive(Debug, Serialize)]
pub struct Effective {
    /// The file.
    pub file: String,
    /// Every setting, in the order of the schema.
    pub settings: Vec<Setting>,
}

impl Effective {
    /// The settings of `config`, which was made of this text and these overrides.
    pub fn new(config: &Config, file: &Path, text: &[u8], overrides: &Overrides) -> Self {
        let text = std::str::from_utf8(text).unwrap_or_default();
        let setting = |entry: SettingEntry| {
            let source = match overrides.option_for(entry.setting) {
                Some(option) => ValueSource::Option { option },
                None => match location::of_value(text, &entry.steps) {
                    Some(place) => ValueSource::File { line: place.line },
                    None => ValueSource::Default,
                },
            };
            Setting {
                key: path_of(&entry.steps),
                value: entry.value,
                reloadable: entry.reloadable,
                source,
                steps: entry.steps,
            }
        };
        Self {
            file: file.to_string_lossy().into_owned(),
            settings: entries(config).into_iter().map(setting).collect(),
        }
    }

    /// A YAML text with all settings: those of the file, the options and the defaults. A comment behind each value has
    /// its source.
    pub fn to_yaml(&self) -> String {
        let mut yaml = String::new();
        let mut previous: &[PathStep] = &[];
        for setting in &self.settings {
            let line = opened(previous, &setting.steps, &mut yaml) + &scalar_text(&setting.value);
            let source = match &setting.source {
                ValueSource::Default => "default".to_owned(),
                // A file name may contain line breaks.
                ValueSource::File { line } => format!("{}:{line}", self.file.escape_debug()),
                ValueSource::Option { option } => (*option).to_owned(),
            };
            // Writing into a string cannot fail.
            writeln!(yaml, "{line:WIDEST$}  # {source}").ok();
            previous = &setting.steps;
        }
        yaml
    }
}

/// Opens the sections between one value and the next, and returns the beginning of the next value's line.
fn opened(previous: &[PathStep], steps: &[PathStep], yaml: &mut String) -> String {
    let common = previous
        .iter()
        .zip(steps)
        .take_while(|(one, other)| one == other)
        .count();
    let mut dash = false;
    let mut line = String::new();
    for (depth, step) in steps.iter().enumerate().skip(common) {
        match step {
            PathStep::Index(_) => dash = true,
            PathStep::Key(key) => {
                if !line.is_empty() {
                    yaml.push_str(line.trim_end());
                    yaml.push('\n');
                }
                let indent = "  ".repeat(depth);
                line = match indent.strip_suffix("  ") {
                    Some(less) if dash => format!("{less}- {key}: "),
                    _ => format!("{indent}{key}: "),
                };
                dash = false;
            }
        }
    }
    line
}

fn scalar_text(value: &Value) -> String {
    match value {
        Value::String(text) => {
            let plain = |character: char| character.is_ascii_alphanumeric() || "/._@+-".contains(character);
            // Modes and versions consist of digits and dots, which some parsers read as numbers.
            let is_text = text.chars().any(|character| character.is_ascii_alphabetic()) && is_text(text);
            if is_text && text.chars().all(plain) && !text.starts_with(['@', '-', '+', '.']) {
                text.clone()
            } else {
                quoted(text)
            }
        }
        Value::Array(items) => {
            let items: Vec<_> = items.iter().map(scalar_text).collect();
            format!("[{}]", items.join(", "))
        }
        Value::Object(items) => {
            let items = items
                .iter()
                .map(|(key, value)| format!("{key}: {}", scalar_text(value)));
            format!("{{{}}}", items.collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// A JSON string, which is also valid YAML once the characters are escaped that are line breaks only in YAML.
fn quoted(text: &str) -> String {
    let mut quoted = String::new();
    for character in Value::from(text).to_string().chars() {
        if "\u{85}\u{2028}\u{2029}\u{feff}".contains(character) {
            // Writing into a string cannot fail.
            write!(quoted, "\\u{:04x}", u32::from(character)).ok();
        } else {
            quoted.push(character);
        }
    }
    quoted
}

fn is_text(text: &str) -> bool {
    matches!(serde_yaml::from_str(text), Ok(serde_yaml::Value::String(same)) if same == text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_that_could_be_taken_for_something_else_is_quoted() {
        for plain in ["off", "v2", "/a/b.c", "24h", "kube-root", "dekhand/v1"] {
            assert_eq!(scalar_text(&plain.into()), plain);
        }
        for quoted in [
            "0600",
            "true",
            "null",
            "1e5",
            "0x1f",
            "@x",
            "127.0.0.1:1",
            "/a b",
            "/a#b",
            "/a: b",
            "-a",
        ] {
            assert_eq!(scalar_text(&quoted.into()), format!("\"{quoted}\""));
        }
    }
}
