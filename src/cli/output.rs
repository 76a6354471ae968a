//! The only module that prints: data on stdout, messages on stderr.

use std::fmt;
use std::io;
use std::io::Write;

use serde::Serialize;

/// How data is printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum OutputFormat {
    /// For people.
    #[default]
    Text,
    /// For programs; stable from release to release.
    Json,
}

/// Where a command prints.
pub struct Output {
    format: OutputFormat,
    data: Box<dyn Write + Send>,
    talk: Box<dyn Write + Send>,
    failure: Option<io::Error>,
}

impl Output {
    /// Prints to the process's stdout and stderr.
    pub fn of_process(format: OutputFormat) -> Self {
        Self::new(format, io::stdout(), io::stderr())
    }

    /// Prints data and messages to these writers.
    pub fn new(format: OutputFormat, data: impl Write + Send + 'static, talk: impl Write + Send + 'static) -> Self {
        Self {
            format,
            data: Box::new(data),
            talk: Box::new(talk),
            failure: None,
        }
    }

    /// The requested format. The caller prints with [`Output::data`] or [`Output::json`] accordingly.
    pub fn format(&self) -> OutputFormat {
        self.format
    }

    /// Prints data, with a line break at the end.
    pub fn data(&mut self, text: &str) {
        let end = if text.is_empty() || text.ends_with('\n') {
            ""
        } else {
            "\n"
        };
        let written = write!(self.data, "{text}{end}").and_then(|()| self.data.flush());
        self.remember(written);
    }

    /// Prints one JSON document.
    pub fn json(&mut self, value: &impl Serialize) {
        match serde_json::to_string_pretty(value) {
            Ok(text) => self.data(&text),
            Err(error) => self.remember(Err(error.into())),
        }
    }

    /// Prints a message for the operator. A closed stderr is no error.
    pub fn talk(&mut self, line: &str) {
        writeln!(self.talk, "{line}").and_then(|()| self.talk.flush()).ok();
    }

    /// Ends the output. The process's exit code depends on the result.
    ///
    /// # Errors
    /// Data was lost, for example because a disk is full. A reader that closed its pipe early is no error.
    pub fn finish(&mut self) -> io::Result<()> {
        match self.failure.take() {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Keeps the first failure; later ones are its consequences.
    fn remember(&mut self, written: io::Result<()>) {
        if let Err(error) = written {
            self.failure.get_or_insert(error);
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

#[cfg(test)]
mod tests {
    use support::paper::Paper;

    use super::*;

    struct Fails(io::ErrorKind);

    impl Write for Fails {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn data_and_talk_go_separate_ways_in_whole_lines() {
        let (data, talk) = (Paper::default(), Paper::default());
        let mut output = Output::new(OutputFormat::Text, data.clone(), talk.clone());
        output.data("one");
        output.data("two\n");
        output.json(&[1]);
        output.talk("three");
        output.finish().unwrap();
        assert_eq!(data.text(), "one\ntwo\n[\n  1\n]\n");
        assert_eq!(talk.text(), "three\n");
    }

    #[test]
    fn lost_data_is_a_failure_but_a_reader_that_left_is_none() {
        for (kind, good) in [(io::ErrorKind::StorageFull, false), (io::ErrorKind::BrokenPipe, true)] {
            let mut output = Output::new(OutputFormat::Text, Fails(kind), Fails(io::ErrorKind::Other));
            output.data("one");
            output.talk("two");
            assert_eq!(output.finish().is_ok(), good);
        }
    }
}
