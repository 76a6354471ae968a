//! Reads stdin: a key, a record, or the confirmation that an operator types.

use std::fmt;
use std::fs::File;
use std::io;
use std::io::IsTerminal as _;
use std::io::Read;
use std::os::fd::AsFd as _;

use zeroize::Zeroizing;

use crate::cli::keys::error::KeysError;
use crate::cli::output::Output;

/// Bytes of the longest confirmation.
const LONGEST_ANSWER: usize = 200;

/// The standard input of a command.
pub struct Input {
    reader: Box<dyn Read + Send>,
    terminal: bool,
}

impl Input {
    /// This process's stdin; empty if it has none.
    pub fn of_process() -> Self {
        // Not `io::stdin` itself: its buffer would keep a copy of a key, and is never wiped.
        let stdin = io::stdin();
        match stdin.as_fd().try_clone_to_owned() {
            Ok(own) => Self::new(File::from(own), stdin.is_terminal()),
            Err(_) => Self::new(io::empty(), false),
        }
    }

    /// Another reader; `terminal` is whether it is a terminal, where an operator can be asked.
    pub fn new(reader: impl Read + Send + 'static, terminal: bool) -> Self {
        Self {
            reader: Box::new(reader),
            terminal,
        }
    }

    /// The whole input, at most `limit` bytes, in a buffer that is wiped and never grows.
    pub(super) fn read_all(&mut self, limit: usize) -> Result<Zeroizing<Vec<u8>>, KeysError> {
        let mut bytes = Zeroizing::new(vec![0; limit + 1]);
        let mut filled = 0;
        while let Some(rest) = bytes.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match self.reader.read(rest) {
                Ok(0) => {
                    bytes.truncate(filled);
                    return Ok(bytes);
                }
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(KeysError::Stdin(error)),
            }
        }
        Err(KeysError::StdinTooLong(limit))
    }

    /// The confirmation from the command line, else from a terminal, else none.
    pub(super) fn confirmed(
        &mut self,
        given: Option<&str>,
        expected: &str,
        out: &mut Output,
    ) -> Result<Option<String>, KeysError> {
        if let Some(given) = given {
            return Ok(Some(given.to_owned()));
        }
        if !self.terminal {
            return Ok(None);
        }
        out.talk(&format!("type {expected} to continue:"));
        self.line().map(Some).map_err(KeysError::Stdin)
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = Vec::new();
        let mut byte = [0];
        while line.len() < LONGEST_ANSWER {
            match self.reader.read(&mut byte) {
                Ok(0) => break,
                Ok(_) if byte == *b"\n" => break,
                Ok(_) => line.extend_from_slice(&byte),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(String::from_utf8_lossy(&line).trim().to_owned())
    }
}

impl fmt::Debug for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Input")
            .field("terminal", &self.terminal)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::OutputFormat;

    fn out() -> Output {
        Output::new(OutputFormat::Text, io::sink(), io::sink())
    }

    #[test]
    fn nobody_is_asked_where_nobody_sits() {
        let mut pipe = Input::new(&b"kube-root.v1\n"[..], false);
        assert_eq!(pipe.confirmed(None, "kube-root.v1", &mut out()).unwrap(), None);
        let mut terminal = Input::new(&b"kube-root.v1\r\nmore"[..], true);
        let answer = terminal.confirmed(None, "kube-root.v1", &mut out()).unwrap();
        assert_eq!(answer.as_deref(), Some("kube-root.v1"));
        let answer = terminal.confirmed(Some("given"), "kube-root.v1", &mut out()).unwrap();
        assert_eq!(answer.as_deref(), Some("given"));
    }

    #[test]
    fn an_answer_ends_with_its_line_with_the_input_or_with_patience() {
        let answer = |typed: &'static [u8]| Input::new(typed, true).line().unwrap();
        assert_eq!(
            (answer(b""), answer(b"a"), answer(b"\nb")),
            (String::new(), "a".into(), String::new())
        );
        let endless = io::repeat(b'x');
        assert_eq!(Input::new(endless, true).line().unwrap().len(), LONGEST_ANSWER);
    }

    #[test]
    fn input_has_its_limit() {
        assert_eq!(Input::new(&b"1234"[..], false).read_all(4).unwrap().as_slice(), b"1234");
        let error = Input::new(&b"12345"[..], false).read_all(4).unwrap_err();
        assert!(matches!(error, KeysError::StdinTooLong(4)));
    }
}
