//! What commands print: data on stdout, talk on stderr. Nothing else in the crate prints.

use std::fmt;
use std::io;
use std::io::Write;

use clap::ValueEnum;
use serde::Serialize;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// For people.
    #[default]
    Text,
    /// For programs; stable.
    Json,
}

/// Where a command prints. The first failure to print is kept and told at the end.
pub struct Output {
    format: Format,
    data: Box<dyn Write + Send>,
    talk: Box<dyn Write + Send>,
    failure: Option<io::Error>,
}

impl Output {
    /// Prints to stdout and stderr.
    pub fn standard(format: Format) -> Self {
        Self::to(format, Box::new(io::stdout()), Box::new(io::stderr()))
    }

    /// Prints elsewhere.
    pub fn to(format: Format, data: Box<dyn Write + Send>, talk: Box<dyn Write + Send>) -> Self {
        Self {
            format,
            data,
            talk,
            failure: None,
        }
    }

    /// How data is printed.
    pub fn format(&self) -> Format {
        self.format
    }

    /// Prints a text for people and a line end.
    pub fn data(&mut self, text: &str) {
        let printed = writeln!(self.data, "{text}").and_then(|()| self.data.flush());
        self.keep_failure(printed);
    }

    /// Prints a value for programs.
    pub fn json(&mut self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.data(&text),
            Err(error) => self.keep_failure(Err(error.into())),
        }
    }

    /// Says something beside the data.
    pub fn talk(&mut self, line: &str) {
        // Who closed stderr does not want to hear it.
        writeln!(self.talk, "{line}").ok();
    }

    /// Whether all data was printed.
    ///
    /// # Errors
    /// The first failure: a full disk, a reader that went away.
    pub fn finish(&mut self) -> io::Result<()> {
        self.failure.take().map_or(Ok(()), Err)
    }

    fn keep_failure(&mut self, printed: io::Result<()>) {
        if let (Err(error), None) = (printed, &self.failure) {
            self.failure = Some(error);
        }
    }
}

impl fmt::Debug for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Output")
            .field("format", &self.format)
            .finish_non_exhaustive()
    }
}
