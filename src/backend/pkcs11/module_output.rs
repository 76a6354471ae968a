//! What vendors' modules print in the token workers of a daemon: read by a thread of its own, so that no module blocks, and
//! limited, because a module may print without an end.

use std::collections::VecDeque;
use std::io;
use std::io::Read as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use crate::telemetry::limit::LineLimit;

/// Bytes of a line that are kept. The rest is discarded.
const LONGEST: usize = 200;
/// Lines a second that are logged.
const LINES: u32 = 10;
/// The last lines, which are shown with the failure of a worker.
const LAST: usize = 3;
/// The time for which they are taken for lines about the failure.
const FRESH: Duration = Duration::from_secs(10);

/// The last lines that modules have printed. Clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct ModuleOutput(Arc<Mutex<VecDeque<(Instant, String)>>>);

impl ModuleOutput {
    /// Reads and logs what comes from `source`, until its end.
    ///
    /// # Errors
    /// The operating system refuses a thread.
    pub(super) fn follow(&self, source: UnixStream) -> io::Result<()> {
        let output = self.clone();
        let read = move || output.read(source, &LineLimit::new(LINES));
        std::thread::Builder::new()
            .name("module-output".to_owned())
            .spawn(read)
            .map(drop)
    }

    fn read(&self, mut source: UnixStream, limit: &LineLimit) {
        let mut buffer = [0; 4096];
        let mut line = Vec::new();
        loop {
            let bytes = match source.read(&mut buffer) {
                Ok(0) => return,
                Ok(count) => buffer.get(..count).unwrap_or_default(),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => {
                    tracing::warn!(%error, "the output of PKCS#11 modules can no longer be read");
                    return;
                }
            };
            for byte in bytes {
                if *byte == b'\n' {
                    self.ended(&line, limit);
                    line.clear();
                } else if line.len() < LONGEST {
                    line.push(*byte);
                }
            }
        }
    }

    fn ended(&self, line: &[u8], limit: &LineLimit) {
        let line = String::from_utf8_lossy(line).trim().escape_debug().to_string();
        if line.is_empty() {
            return;
        }
        if let Some(suppressed) = limit.pass() {
            tracing::debug!(line, suppressed, "a PKCS#11 module has printed");
        }
        let mut last = self.lock();
        if last.len() >= LAST {
            last.pop_front();
        }
        last.push_back((Instant::now(), line));
    }

    /// The last lines, if they are a few seconds old at most.
    pub(super) fn last(&self) -> Option<String> {
        let last = self.lock();
        let fresh = last.iter().filter(|(at, _)| at.elapsed() < FRESH);
        let lines: Vec<_> = fresh.map(|(_, line)| line.as_str()).collect();
        (!lines.is_empty()).then(|| lines.join(" | "))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<(Instant, String)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    #[test]
    fn the_last_lines_are_kept_cut_and_escaped() {
        let (source, mut module) = UnixStream::pair().unwrap();
        module.write_all(b"one\ntwo\n\nthree\r\n\x1b[31mfour\n").unwrap();
        module.write_all(&[b'x'; 10_000]).unwrap();
        module.write_all(b"\nnot ended").unwrap();
        drop(module);
        let output = ModuleOutput::default();
        assert_eq!(output.last(), None);
        output.read(source, &LineLimit::new(1));
        let expected = format!("three | \\u{{1b}}[31mfour | {}", "x".repeat(LONGEST));
        assert_eq!(output.last().unwrap(), expected);
    }
}
