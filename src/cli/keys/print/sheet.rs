//! The sheet of steps for a key ceremony.

use serde::Serialize;

use crate::cli::keys::print::entry::VersionEntry;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;

/// The steps to do by hand.
#[derive(Debug, Serialize)]
pub(super) struct Sheet {
    pub(super) root_key: RootKeyName,
    /// The command that the steps replace.
    pub(super) action: &'static str,
    pub(super) version: String,
    pub(super) number: Number,
    pub(super) id: KeyId,
    /// The new label, unless `versions:` lists the versions.
    pub(super) label: Option<String>,
    /// The entry for `versions:` in the configuration, if it lists any.
    pub(super) entry: Option<VersionEntry>,
    /// The steps, in order.
    pub(super) steps: Vec<SheetStep>,
}

/// One step.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct SheetStep {
    pub(super) what: String,
    /// The exact attributes, commands or lines of the step.
    pub(super) lines: Vec<String>,
}

impl SheetStep {
    pub(super) fn new(what: impl Into<String>) -> Self {
        let (what, lines) = (what.into(), Vec::new());
        Self { what, lines }
    }

    pub(super) fn lines(self, lines: impl IntoIterator<Item = String>) -> Self {
        let lines = lines.into_iter().collect();
        Self { lines, ..self }
    }
}

impl Sheet {
    /// For people.
    pub(super) fn text(&self, place: &str) -> String {
        let Self {
            root_key, version, id, ..
        } = self;
        let mut lines = vec![format!("{root_key}  {version}  {id}, in {place}")];
        for (at, SheetStep { what, lines: words }) in self.steps.iter().enumerate() {
            lines.extend([String::new(), format!("{}. {what}", at + 1)]);
            lines.extend(words.iter().map(|word| format!("     {word}").trim_end().to_owned()));
        }
        lines.join("\n")
    }
}
