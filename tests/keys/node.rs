//! One control-plane node with a keyring, and the command line on it.

use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use clap::Parser;
use dekhand::backend::keyring::KeyringOptions;
use dekhand::cli::keys::Console;
use dekhand::cli::keys::arguments::KeysCommand;
use dekhand::cli::keys::error::FailureKind;
use dekhand::cli::keys::execute;
use dekhand::cli::keys::input::Input;
use dekhand::cli::keys::target::Target;
use dekhand::cli::keys::tokens::Workers;
use dekhand::cli::output::Output;
use dekhand::cli::output::OutputFormat;
use dekhand::clock::Clock;
use dekhand::clock::Timestamp;
use dekhand::config::RootKeyStore;
use dekhand::root_key::high_water::HighWater;
use dekhand::root_key::high_water::HighWaterFile;
use serde_json::Value;
use support::paper::Paper;

pub(crate) const NOW: u64 = 1_772_366_400; // 2026-03-01T12:00:00Z
pub(crate) const DAY: u64 = 86_400;

#[derive(Debug, Parser)]
pub(crate) struct Line {
    #[command(subcommand)]
    pub(crate) command: KeysCommand,
}

/// One control-plane node with its own directory.
pub(crate) struct Node {
    pub(crate) directory: tempfile::TempDir,
    pub(crate) shared: bool,
    pub(crate) now: u64,
    pub(crate) stdin: Vec<u8>,
    pub(crate) terminal: bool,
}

pub(crate) struct Answer {
    pub(crate) data: String,
    pub(crate) talk: String,
    pub(crate) failure: Option<(FailureKind, String)>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.failure, None, "{}", self.talk);
        serde_json::from_str(&self.data).unwrap()
    }

    pub(crate) fn good(self) -> Self {
        assert_eq!(self.failure, None, "{}", self.talk);
        self
    }

    pub(crate) fn refused(self) -> String {
        self.failed(FailureKind::Refused)
    }

    pub(crate) fn failed(self, wanted: FailureKind) -> String {
        let (kind, error) = self.failure.unwrap();
        assert_eq!(kind, wanted, "{error}");
        error
    }
}

impl Node {
    pub(crate) fn new(shared: bool) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            shared,
            now: NOW,
            stdin: Vec::new(),
            terminal: false,
        }
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn keyring(&self) -> PathBuf {
        self.file("keyring.json")
    }

    pub(crate) fn text(&self, line: &str) -> Answer {
        self.run(line, OutputFormat::Text)
    }

    pub(crate) fn json(&self, line: &str) -> Value {
        self.run(line, OutputFormat::Json).json()
    }

    pub(crate) fn run(&self, line: &str, format: OutputFormat) -> Answer {
        let line = Line::try_parse_from(["dekhand-keys"].into_iter().chain(line.split_whitespace())).unwrap();
        let (data, talk) = (Paper::default(), Paper::default());
        let mut out = Output::new(format, data.clone(), talk.clone());
        let mut input = Input::new(io::Cursor::new(self.stdin.clone()), self.terminal);
        let targets = [Target {
            name: "kube-root".parse().unwrap(),
            shared: self.shared,
            store: RootKeyStore::Keyring(KeyringOptions { file: self.keyring() }),
            state: self.file("state"),
        }];
        let mut console = Console {
            out: &mut out,
            input: &mut input,
            clock: &Clock::turned(Timestamp::from_unix(self.now)),
            tokens: &Workers::none(),
        };
        let failure = execute(&line.command, &targets, &mut console).err().map(|error| {
            let kind = error.kind();
            (kind, format!("{:#}", anyhow::Error::from(error)))
        });
        Answer {
            data: data.text(),
            talk: talk.text(),
            failure,
        }
    }

    /// Version, state and primary of each version.
    pub(crate) fn list(&self) -> Vec<(String, String, bool)> {
        let list = self.json("list");
        let versions = list["root_keys"][0]["versions"].as_array().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        versions
            .iter()
            .map(|version| {
                (
                    text(&version["version"]),
                    text(&version["state"]),
                    version["primary"].as_bool().unwrap(),
                )
            })
            .collect()
    }

    /// Copies the keyring to another node, as an operator does.
    pub(crate) fn copy_to(&self, other: &Self) {
        std::fs::copy(self.keyring(), other.keyring()).unwrap();
    }

    pub(crate) fn key_file(&self, content: impl AsRef<[u8]>) -> String {
        let path = self.file("key");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    pub(crate) fn report(&self, number: u16, id: &str) {
        std::fs::create_dir_all(self.file("state")).unwrap();
        let mark = HighWater {
            number: number.try_into().unwrap(),
            id: id.parse().unwrap(),
        };
        HighWaterFile::of(&self.file("state"))
            .write(&"kube-root".parse().unwrap(), mark)
            .unwrap();
    }
}

pub(crate) fn state(version: &str, state: &str, primary: bool) -> (String, String, bool) {
    (version.to_owned(), state.to_owned(), primary)
}
