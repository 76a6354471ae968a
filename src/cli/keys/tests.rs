//! Promises of `keys` for root keys in tokens, tested against a fake token.

use std::io;
use std::sync::Arc;
use std::sync::Mutex;

use async_trait::async_trait;
use clap::Parser;
use serde_json::Value;
use support::paper::Paper;

use super::*;
use crate::cli::keys::error::FailureKind;
use crate::cli::keys::tokens::TokenKeys;
use crate::cli::output::OutputFormat;
use crate::clock::Timestamp;
use crate::config::RootKeyStore;
use crate::root_key::Admin;
use crate::root_key::RootKey;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::fake::active_from;
use crate::root_key::fake::id;
use crate::root_key::fake_admin::FakeAdmin;
use crate::root_key::fake_admin::version;
use crate::root_key::high_water::HighWater;
use crate::root_key::high_water::HighWaterFile;
use crate::root_key::id::KeyId;
use crate::root_key::name::RootKeyName;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::version::Version;
use crate::secret::Key;
use crate::token::assignment::Role;
use crate::token::options::ListedVersion;
use crate::token::options::ObjectName;
use crate::token::options::Pkcs11Options;
use crate::token::report::KeyReport;

const NOW: u64 = 1_772_366_430; // 2026-03-01T12:00:30Z
const DAY: u64 = 86_400;

#[derive(Debug, Parser)]
struct CommandLine {
    #[command(subcommand)]
    command: KeysCommand,
}

/// A token with versions and no keys.
#[derive(Debug)]
struct Token {
    admin: Arc<FakeAdmin>,
    away: bool,
    /// Whether every version's key was exchanged.
    another: bool,
    roles: Mutex<Vec<Role>>,
}

#[derive(Debug)]
struct Worker {
    admin: Arc<FakeAdmin>,
    away: bool,
    another: bool,
}

impl Tokens for Token {
    fn keys(&self, _: &RootKeyName, role: Role) -> Result<Box<dyn TokenKeys>, Error> {
        self.roles.lock().unwrap().push(role);
        Ok(Box::new(Worker {
            admin: self.admin.clone(),
            away: self.away,
            another: self.another,
        }))
    }

    fn root_key(&self, _: &RootKeyName) -> Result<Box<dyn RootKey>, Error> {
        Err(Error::new(Kind::Outage, "this token has no keys"))
    }
}

#[async_trait]
impl TokenKeys for Worker {
    async fn attributes(&self, id: &KeyId) -> Result<KeyReport, Error> {
        let versions = self.admin.now();
        let version = versions.iter().find(|version| version.id == *id);
        let number = version.ok_or_else(|| Error::missing(id))?.number;
        Ok(KeyReport {
            key: "AES-256".to_owned(),
            label: format!("kube-root.{number}"),
            attributes: vec![("SENSITIVE".to_owned(), Some(true)), ("LOCAL".to_owned(), None)],
            warnings: vec!["it is weak".to_owned()],
            another_key: self.another,
            unproven: false,
        })
    }
}

#[async_trait]
impl Admin for Worker {
    async fn versions(&self) -> Result<Vec<Version>, Error> {
        if self.away {
            return Err(Error::new(Kind::Outage, "no token is named `kube`"));
        }
        self.admin.versions().await
    }

    async fn generate(&self, number: Number, state: State) -> Result<Version, Error> {
        self.admin.generate(number, state).await
    }

    async fn import(&self, number: Number, state: State, key: Key) -> Result<Version, Error> {
        self.admin.import(number, state, key).await
    }

    async fn relabel(&self, id: &KeyId, state: State) -> Result<(), Error> {
        self.admin.relabel(id, state).await
    }

    async fn destroy(&self, id: &KeyId) -> Result<(), Error> {
        self.admin.destroy(id).await
    }
}

/// One node with a token.
struct Node {
    state: tempfile::TempDir,
    token: Token,
    options: Pkcs11Options,
    shared: bool,
}

struct Answer {
    data: String,
    talk: String,
    failure: Option<(FailureKind, String)>,
}

impl Answer {
    fn good(self) -> Self {
        assert_eq!(self.failure, None, "{}", self.talk);
        self
    }

    fn failed(self, kind: FailureKind) -> String {
        let (found, error) = self.failure.unwrap();
        assert_eq!(found, kind, "{error}");
        assert_eq!(self.data, "");
        error
    }
}

impl Node {
    fn new(versions: impl IntoIterator<Item = Version>) -> Self {
        Self {
            state: tempfile::tempdir().unwrap(),
            token: Token {
                admin: Arc::new(FakeAdmin::with(versions)),
                away: false,
                another: false,
                roles: Mutex::default(),
            },
            options: Pkcs11Options::new("/module.so".into(), "kube".parse().unwrap()),
            shared: true,
        }
    }

    /// v1 was followed by v2.
    fn rotated() -> Self {
        Self::new([
            version(1, 1, active_from(NOW - 100 * DAY)),
            version(2, 2, active_from(NOW - 10 * DAY)),
        ])
    }

    /// The same, as `versions:` lists it.
    fn listed(mut self) -> Self {
        let list = self.token.admin.now().into_iter().map(|version| ListedVersion {
            object: ObjectName::Id(version.id),
            number: version.number,
            activates: version.state.moment(),
            retired: None,
        });
        self.options.versions = list.collect();
        self
    }

    fn run(&self, line: &str, format: OutputFormat) -> Answer {
        let target = Target {
            name: "kube-root".parse().unwrap(),
            shared: self.shared,
            store: RootKeyStore::Pkcs11(Box::new(self.options.clone())),
            state: self.state.path().to_owned(),
        };
        run(line, format, &target, &self.token)
    }

    fn text(&self, line: &str) -> Answer {
        self.run(line, OutputFormat::Text)
    }

    fn json(&self, line: &str) -> Value {
        serde_json::from_str(&self.run(line, OutputFormat::Json).good().data).unwrap()
    }

    fn roles(&self) -> Vec<Role> {
        std::mem::take(&mut self.token.roles.lock().unwrap())
    }
}

fn run(line: &str, format: OutputFormat, target: &Target, tokens: &dyn Tokens) -> Answer {
    let line = CommandLine::try_parse_from(["dekhand-keys"].into_iter().chain(line.split_whitespace())).unwrap();
    let (data, talk) = (Paper::default(), Paper::default());
    let mut console = Console {
        out: &mut Output::new(format, data.clone(), talk.clone()),
        input: &mut Input::new(io::empty(), false),
        clock: &Clock::turned(Timestamp::from_unix(NOW)),
        tokens,
    };
    let failure = execute(&line.command, std::slice::from_ref(target), &mut console).err();
    Answer {
        data: data.text(),
        talk: talk.text(),
        failure: failure.map(|error| (error.kind(), format!("{:#}", anyhow::Error::from(error)))),
    }
}

#[test]
fn a_list_is_read_as_the_daemon_reads_it_and_says_what_is_weak() {
    let node = Node::rotated();
    let list = node.json("list");
    assert_eq!(node.roles(), [Role::Look]);
    let root_key = &list["root_keys"][0];
    assert_eq!(root_key["backend"], "pkcs11");
    let v2 = &root_key["versions"][1];
    assert_eq!((&v2["primary"], &v2["key"]), (&true.into(), &"AES-256".into()));
    assert_eq!(v2["attributes"], serde_json::json!({"SENSITIVE": true, "LOCAL": null}));
    assert_eq!(v2["warnings"], serde_json::json!(["it is weak"]));
    let answer = node.text("list").good();
    assert!(
        answer.talk.contains("warning: kube-root v2: it is weak"),
        "{}",
        answer.talk
    );
    assert!(
        answer.data.contains("pkcs11") && answer.data.contains("kube"),
        "{}",
        answer.data
    );
}

#[test]
fn a_version_is_made_with_the_admin_pin_and_dated_to_the_minute() {
    let node = Node::new([]);
    let made = node.json("create");
    assert_eq!(node.roles(), [Role::Admin]);
    assert_eq!(made["version"]["since"], "2026-03-01T12:00:00Z");
    assert_eq!(made["warnings"], serde_json::json!(["it is weak"]));
    let made = node.json("rotate --activate-in 10m");
    assert_eq!(made["version"]["since"], "2026-03-01T12:11:00Z");
    assert!(node.text("create").failed(FailureKind::Refused).contains("v1, v2"));
}

#[test]
fn destroying_asks_and_acts_in_one_worker() {
    let node = Node::new([
        version(1, 1, State::RetiredSince(Timestamp::from_unix(NOW - 91 * DAY))),
        version(2, 2, active_from(NOW - 100 * DAY)),
    ]);
    let refused = node.text("destroy v1 --unaudited").failed(FailureKind::Refused);
    assert!(refused.contains("--confirm kube-root.v1"), "{refused}");
    node.roles();
    node.text("destroy v1 --unaudited --confirm kube-root.v1").good();
    assert_eq!((node.roles(), node.token.admin.now().len()), (vec![Role::Admin], 1));
}

#[test]
fn a_token_that_is_away_is_unreachable() {
    let mut node = Node::rotated();
    node.token.away = true;
    for command in [
        "list",
        "rotate",
        "create",
        "rotate --print",
        "accept-loss 0102030405060708",
    ] {
        if command.starts_with("accept") {
            report(&node, "0102030405060708");
        }
        let said = node.text(command).failed(FailureKind::Unreachable);
        assert!(said.contains("no token is named"), "{command}: {said}");
    }
}

fn report(node: &Node, id: &str) {
    let high_water = HighWater {
        number: Number::FIRST,
        id: id.parse().unwrap(),
    };
    let file = HighWaterFile::of(node.state.path());
    file.write(&"kube-root".parse().unwrap(), high_water).unwrap();
}

#[test]
fn what_the_configuration_lists_is_not_labelled_but_written_there() {
    let node = Node::rotated().listed();
    for command in [
        "create",
        "rotate",
        "activate --in 10m",
        "retire v1 --unaudited",
        "restore v1",
        "import --hex /nowhere",
    ] {
        let said = node.text(command).failed(FailureKind::Refused);
        let name = command.split(' ').next().unwrap();
        assert!(said.contains(&format!("dekhand keys {name} --print")), "{said}");
    }
    assert_eq!(node.roles(), [], "no worker was started for that");
    let text = node.text("rotate --print").good().data;
    assert!(
        text.contains("add to `versions:`") && text.contains("number: 3}"),
        "{text}"
    );
    let sheet = node.json("retire v1 --unaudited --print");
    assert_eq!(sheet["label"], Value::Null);
    assert_eq!(
        sheet["entry"],
        serde_json::json!({
            "id": id(1), "number": 1, "activates": "2025-11-21T12:00:30Z", "retired": "2026-03-01T12:00:00Z",
        })
    );
}

mod ceremony;
