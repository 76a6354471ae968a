//! A SoftHSM token for a single test, behind the shim.

use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Stdio;

use tempfile::TempDir;

use crate::calls;
use crate::control;
use crate::control::Control;

/// The PIN of every token made here.
pub const PIN: &str = "1234";

/// A directory with a token of SoftHSM in it, the shim's control file and its record of calls.
#[derive(Debug)]
pub struct Token {
    path: PathBuf,
    /// Removes it on drop, in the process that made it.
    _directory: Option<TempDir>,
}

impl Token {
    /// With a token called `kube`.
    ///
    /// # Panics
    ///
    /// If SoftHSM is not installed.
    pub fn new() -> Self {
        let token = Self::blank();
        token.add("kube");
        token
    }

    /// Without a token: only with the slot where one can be made.
    pub fn blank() -> Self {
        crate::softhsm();
        let directory = tempfile::tempdir().expect("a directory");
        let token = Self {
            path: directory.path().to_owned(),
            _directory: Some(directory),
        };
        std::fs::create_dir(token.store()).expect("a directory");
        let text = format!(
            "directories.tokendir = {}\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n",
            token.store().display()
        );
        std::fs::write(token.path("softhsm2.conf"), text).expect("softhsm2.conf");
        token
    }

    /// The token in the environment of this process.
    ///
    /// # Panics
    ///
    /// If the environment has none.
    pub fn of_this_process() -> Self {
        let control = std::env::var_os(control::VARIABLE).expect("a process with a token's environment");
        let path = Path::new(&control).parent().expect("a directory").to_owned();
        Self { path, _directory: None }
    }

    /// Makes another token.
    ///
    /// # Panics
    ///
    /// If the program `softhsm2-util` is missing or fails.
    pub fn add(&self, label: &str) {
        let arguments = [
            "--init-token",
            "--free",
            "--label",
            label,
            "--pin",
            PIN,
            "--so-pin",
            "5678",
        ];
        let output = Command::new("softhsm2-util")
            .args(arguments)
            .env("SOFTHSM2_CONF", self.path("softhsm2.conf"))
            .stdin(Stdio::null())
            .output()
            .expect("softhsm2-util, a program of SoftHSM: apt-get install softhsm2");
        assert!(output.status.success(), "softhsm2-util: {output:?}");
    }

    /// A path in the directory.
    pub fn path(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// The directory of SoftHSM's tokens.
    pub fn store(&self) -> PathBuf {
        self.path("tokens")
    }

    /// The environment of a process that loads the module.
    pub fn environment(&self) -> Vec<(&'static str, PathBuf)> {
        vec![
            ("SOFTHSM2_CONF", self.path("softhsm2.conf")),
            (control::VARIABLE, self.path("control")),
            (calls::VARIABLE, self.path("calls")),
        ]
    }

    /// Writes the control file; its events happen again, and its counts start at 0.
    ///
    /// # Panics
    ///
    /// If the file is invalid.
    pub fn set(&self, text: &str) {
        Control::parse(text).unwrap_or_else(|what| panic!("control file: {what}"));
        // Renamed into place: the shim may read at any time, and recognises a new file by its inode.
        std::fs::write(self.path("control.new"), text).expect("the control file");
        std::fs::rename(self.path("control.new"), self.path("control")).expect("the control file");
    }

    /// The number of calls of a function, by all processes together.
    pub fn calls(&self, function: &str) -> usize {
        self.record().iter().filter(|(_, name)| name == function).count()
    }

    /// All calls: the process and the function.
    ///
    /// # Panics
    ///
    /// If a process found an invalid control file.
    pub fn record(&self) -> Vec<(u32, String)> {
        let text = std::fs::read_to_string(self.path("calls")).unwrap_or_default();
        // A line without its end is still being written.
        let lines = text.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n'));
        let calls = lines.map(|line| match line.split_once(' ') {
            Some((process, function)) if function.starts_with("C_") => {
                (process.parse().expect("a process"), function.to_owned())
            }
            _ => panic!("in the record of calls: {line:?}"),
        });
        calls.collect()
    }

    /// Forgets the calls so far.
    pub fn forget_calls(&self) {
        // Truncated, not removed: the processes that append have it open.
        std::fs::write(self.path("calls"), "").expect("the record of calls");
    }

    /// The number of wrong PINs that `pin locks` has counted since the right one.
    pub fn wrong_pins(&self) -> u64 {
        let text = std::fs::read_to_string(self.path("control.wrong-pins")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// The most concurrent `C_Encrypt` and `C_Decrypt` in the module of one process.
    pub fn most_at_once(&self) -> u64 {
        let text = std::fs::read_to_string(self.path("control.most-at-once")).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    }

    /// Begins to count anew, for processes that are started from here on.
    pub fn forget_most_at_once(&self) {
        drop(std::fs::remove_file(self.path("control.most-at-once")));
    }

    /// Unlocks the token of `pin locks`, as its security officer would.
    pub fn unlock(&self) {
        drop(std::fs::remove_file(self.path("control.wrong-pins")));
    }

    /// Makes the token unavailable, as if unplugged.
    pub fn take_away(&self) {
        std::fs::rename(self.store(), self.path("tokens.gone")).expect("the token is there");
    }

    /// Makes the token available again.
    pub fn put_back(&self) {
        std::fs::rename(self.path("tokens.gone"), self.store()).expect("the token is gone");
    }

    /// Copies the token's objects from another: a restored backup, a lagging replica.
    pub fn restore(&self, from: &Path) {
        std::fs::remove_dir_all(self.store()).expect("the token");
        copy(from, &self.store());
    }

    /// Copies the token's objects to the place where [`Token::restore`] finds them.
    pub fn back_up(&self, to: &Path) {
        copy(&self.store(), to);
    }
}

impl Default for Token {
    fn default() -> Self {
        Self::new()
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a directory");
    for entry in from.read_dir().expect("a directory") {
        let from = entry.expect("an entry").path();
        let to = to.join(from.file_name().expect("a name"));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            std::fs::copy(&from, &to).expect("a copy");
        }
    }
}
