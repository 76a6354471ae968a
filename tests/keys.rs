//! `dekhand keys` on real files: the commands, their output, and the keyring afterwards.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may panic"
)]

use std::io;
use std::io::Write;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;

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

const NOW: u64 = 1_772_366_400; // 2026-03-01T12:00:00Z
const DAY: u64 = 86_400;

#[derive(Debug, Parser)]
struct Line {
    #[command(subcommand)]
    command: KeysCommand,
}

#[derive(Clone, Default)]
struct Paper(Arc<Mutex<Vec<u8>>>);

impl Paper {
    fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Paper {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// One control-plane node with its own directory.
struct Node {
    directory: tempfile::TempDir,
    shared: bool,
    now: u64,
    stdin: Vec<u8>,
    terminal: bool,
}

struct Answer {
    data: String,
    talk: String,
    failure: Option<(FailureKind, String)>,
}

impl Answer {
    fn json(&self) -> Value {
        assert_eq!(self.failure, None, "{}", self.talk);
        serde_json::from_str(&self.data).unwrap()
    }

    fn good(self) -> Self {
        assert_eq!(self.failure, None, "{}", self.talk);
        self
    }

    fn refused(self) -> String {
        self.failed(FailureKind::Refused)
    }

    fn failed(self, wanted: FailureKind) -> String {
        let (kind, error) = self.failure.unwrap();
        assert_eq!(kind, wanted, "{error}");
        error
    }
}

impl Node {
    fn new(shared: bool) -> Self {
        Self {
            directory: tempfile::tempdir().unwrap(),
            shared,
            now: NOW,
            stdin: Vec::new(),
            terminal: false,
        }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn keyring(&self) -> PathBuf {
        self.file("keyring.json")
    }

    fn text(&self, line: &str) -> Answer {
        self.run(line, OutputFormat::Text)
    }

    fn json(&self, line: &str) -> Value {
        self.run(line, OutputFormat::Json).json()
    }

    fn run(&self, line: &str, format: OutputFormat) -> Answer {
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
    fn list(&self) -> Vec<(String, String, bool)> {
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
    fn copy_to(&self, other: &Self) {
        std::fs::copy(self.keyring(), other.keyring()).unwrap();
    }

    fn key_file(&self, content: impl AsRef<[u8]>) -> String {
        let path = self.file("key");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn report(&self, number: u16, id: &str) {
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

fn state(version: &str, state: &str, primary: bool) -> (String, String, bool) {
    (version.to_owned(), state.to_owned(), primary)
}

#[test]
fn a_first_version_is_made_once_active_at_once() {
    let node = Node::new(true);
    assert!(
        node.text("list")
            .failed(FailureKind::Unreachable)
            .contains("dekhand keys create")
    );
    let made = node.json("create");
    assert_eq!(made["root_key"], "kube-root");
    assert_eq!(made["version"]["version"], "v1");
    assert_eq!(made["version"]["since"], "2026-03-01T12:00:00Z");
    assert_eq!(node.list(), [state("v1", "active", true)]);
    let before = std::fs::read(node.keyring()).unwrap();
    assert!(node.text("create").refused().contains("dekhand keys rotate"));
    assert_eq!(std::fs::read(node.keyring()).unwrap(), before);
}

#[test]
fn the_list_for_programs_has_the_promised_fields() {
    let node = Node::new(true);
    node.json("create");
    node.json("rotate");
    let list = node.json("list");
    let root_key = &list["root_keys"][0];
    assert_eq!(
        (&root_key["name"], &root_key["backend"], &root_key["shared"]),
        (&"kube-root".into(), &"keyring".into(), &true.into())
    );
    let [v1, v2] = root_key["versions"].as_array().unwrap().as_slice() else {
        panic!("{list}");
    };
    assert_eq!(
        (&v1["version"], &v1["number"], &v1["state"]),
        (&"v1".into(), &1.into(), &"active".into())
    );
    assert_eq!(
        (&v1["since"], &v1["primary"]),
        (&"2026-03-01T12:00:00Z".into(), &true.into())
    );
    assert_eq!(v1["id"].as_str().unwrap().len(), 32);
    assert_eq!(
        (&v2["state"], &v2["since"], &v2["primary"]),
        (&"pending".into(), &Value::Null, &false.into())
    );
    let text = node.text("list").good().data;
    assert!(
        text.contains("v1     active since 2026-03-01T12:00:00Z") && text.contains("primary"),
        "{text}"
    );
}

#[test]
fn with_one_store_for_all_nodes_a_rotation_is_one_step() {
    let mut node = Node::new(true);
    node.json("create");
    let made = node.json("rotate --activate-in 10m");
    assert_eq!(
        (&made["version"]["state"], &made["version"]["since"]),
        (&"pending".into(), &"2026-03-01T12:10:00Z".into())
    );
    assert_eq!(
        node.list(),
        [state("v1", "active", true), state("v2", "pending", false)]
    );
    assert!(node.text("rotate").refused().contains("rotate after that"));
    node.now += 600;
    assert_eq!(node.list(), [state("v1", "active", false), state("v2", "active", true)]);
    node.json("rotate");
    assert!(node.text("rotate").refused().contains("still pending"));
}

#[test]
fn with_a_copy_on_each_node_a_rotation_is_three_steps() {
    let mut nodes = [Node::new(false), Node::new(false), Node::new(false)];
    let [one, others @ ..] = &nodes;
    one.json("create");
    assert!(one.text("rotate --activate-in 10m").refused().contains("of its own"));
    // 1: a pending version, on every node.
    let talk = one.text("rotate").good().talk;
    assert!(talk.contains("copy") && talk.contains("keys verify"), "{talk}");
    for other in others {
        one.copy_to(other);
    }
    // 2: the proof that all nodes hold the same key.
    let record = one.text("verify --record").good().data;
    for other in others {
        std::fs::write(other.file("record"), &record).unwrap();
        let proof = other.json(&format!("verify --against {}", other.file("record").display()));
        assert_eq!((&proof["ok"], &proof["version"]), (&true.into(), &"v2".into()));
    }
    // 3: one date for all nodes.
    let dated = one.json("activate --in 10m");
    let at = dated["version"]["since"].as_str().unwrap();
    for other in others {
        other.json(&format!("activate --at {at}"));
    }
    for node in &mut nodes {
        node.now += 600;
        assert_eq!(node.list(), [state("v1", "active", false), state("v2", "active", true)]);
    }
}

#[test]
fn verify_finds_another_key_under_the_same_number_and_id() {
    let (one, other) = (Node::new(false), Node::new(false));
    one.json("create");
    other.json("create");
    let mut record: Value = serde_json::from_str(&one.text("verify --record v1").good().data).unwrap();
    let file = other.file("record");
    let against = format!("verify --against {}", file.display());
    std::fs::write(&file, record.to_string()).unwrap();
    let lacks = other.text(&against).failed(FailureKind::Failed);
    assert!(lacks.contains("does not have v1"), "{lacks}");
    record["id"] = other.json("list")["root_keys"][0]["versions"][0]["id"].clone();
    std::fs::write(&file, record.to_string()).unwrap();
    let wrong = other.text(&against).failed(FailureKind::Failed);
    assert!(wrong.contains("ANOTHER KEY"), "{wrong}");
    std::fs::write(&file, "{}").unwrap();
    other.text(&against).failed(FailureKind::Failed);
}

#[test]
fn a_record_comes_through_a_pipe_as_well() {
    let mut node = Node::new(false);
    node.json("create");
    node.stdin = node.text("verify --record").good().data.into_bytes();
    assert_eq!(node.json("verify --against -")["ok"], true);
}

#[test]
fn a_version_is_retired_restored_and_destroyed_in_good_time() {
    let mut node = Node::new(true);
    node.json("create");
    node.json("rotate --activate-in 0s");
    assert!(
        node.text("retire v2 --unaudited")
            .refused()
            .contains("v2 is the primary")
    );
    assert!(
        node.text("retire v1 --unaudited")
            .refused()
            .contains("was the primary until")
    );
    node.now += 3600;
    assert!(node.text("retire v1").refused().contains("--unaudited"));
    let retired = node.run("retire v1 --unaudited", OutputFormat::Json);
    assert!(retired.talk.contains("dekhand keys restore v1"), "{}", retired.talk);
    assert_eq!(retired.json()["version"]["state"], "retired");
    assert_eq!(node.json("restore v1")["version"]["state"], "active");
    assert_eq!(node.list(), [state("v1", "active", false), state("v2", "active", true)]);
    node.json("retire v1 --unaudited");
    assert!(
        node.text("destroy v1 --unaudited --confirm kube-root.v1")
            .refused()
            .contains("--retention")
    );
    node.now += 90 * DAY;
    assert!(
        node.text("destroy v1 --confirm kube-root.v1")
            .refused()
            .contains("--unaudited")
    );
    assert!(
        node.text("destroy v1 --unaudited")
            .refused()
            .contains("--confirm kube-root.v1")
    );
    assert!(
        node.text("destroy v1 --unaudited --confirm kube-root.v2")
            .refused()
            .contains("--confirm kube-root.v1")
    );
    assert_eq!(node.list().len(), 2);
    let destroyed = node.text("destroy v1 --unaudited --confirm kube-root.v1").good();
    assert!(
        destroyed
            .talk
            .contains("backups of etcd from before 2026-03-01T13:00:00Z"),
        "{}",
        destroyed.talk
    );
    assert_eq!(node.list(), [state("v2", "active", true)]);
}

#[test]
fn somebody_at_a_terminal_is_asked_for_the_name() {
    let mut node = Node::new(true);
    node.json("create");
    node.json("rotate --activate-in 0s");
    node.now += 3600;
    node.json("retire v1 --unaudited");
    node.terminal = true;
    node.stdin = b"yes\n".to_vec();
    let answer = node.text("destroy v1 --unaudited --retention 0s");
    assert!(answer.talk.contains("type kube-root.v1 to continue"), "{}", answer.talk);
    answer.refused();
    node.stdin = b"kube-root.v1\n".to_vec();
    node.text("destroy v1 --unaudited --retention 0s").good();
    assert_eq!(node.list().len(), 1);
}

#[test]
fn keys_of_other_systems_are_imported_and_never_shown() {
    let hex = "00112233445566778899aabbccddeeff00112233445566778899aabbccddee12";
    let ascii = "0123456789abcdef0123456789abcdef";
    let mut node = Node::new(true);
    let first = node.run(&format!("import --hex {}", node.key_file(hex)), OutputFormat::Json);
    assert!(!first.data.contains(hex) && !first.talk.contains(hex));
    assert_eq!(first.json()["version"]["state"], "active");
    let again = node.text(&format!("import --hex {}", node.key_file(hex))).refused();
    assert!(again.contains("as v1") && again.contains("already"), "{again}");
    node.stdin = format!("{ascii}\n").into_bytes();
    assert_eq!(node.json("import --ascii -")["version"]["state"], "pending");
    assert!(
        std::fs::read_to_string(node.keyring())
            .unwrap()
            .contains(&hex::encode(ascii))
    );
    let wrong = node
        .text(&format!("import --hex {}", node.key_file(ascii)))
        .failed(FailureKind::Failed);
    assert!(
        wrong.contains("--ascii uses them as bytes") && !wrong.contains(ascii),
        "{wrong}"
    );
}

#[test]
fn a_key_file_that_others_may_read_is_refused() {
    let node = Node::new(true);
    let file = node.key_file([7; 32]);
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = node.text(&format!("import --raw {file}")).failed(FailureKind::Failed);
    assert!(error.contains("chmod 0600"), "{error}");
    assert!(!node.keyring().exists());
}

#[test]
fn a_lost_keyring_is_made_anew_only_after_the_loss_was_accepted() {
    let node = Node::new(true);
    let id = node.json("create")["version"]["id"].as_str().unwrap().to_owned();
    node.report(1, &id);
    assert!(
        node.text(&format!("accept-loss {id} --confirm kube-root.v1"))
            .refused()
            .contains("is not lost")
    );
    std::fs::remove_file(node.keyring()).unwrap();
    for line in [
        "create".to_owned(),
        format!("import --hex {}", node.key_file("1f".to_owned() + &"00".repeat(31))),
    ] {
        assert!(node.text(&line).refused().contains("accept-loss"));
        assert!(!node.keyring().exists());
    }
    assert!(
        node.text(&format!("accept-loss {id}"))
            .refused()
            .contains("--confirm kube-root.v1")
    );
    let other = "ff".repeat(16);
    assert!(
        node.text(&format!("accept-loss {other} --confirm kube-root.v1"))
            .refused()
            .contains(&id)
    );
    let accepted = node.json(&format!("accept-loss {id} --confirm kube-root.v1"));
    assert_eq!(
        (&accepted["accepted"]["version"], &accepted["accepted"]["id"]),
        (&"v1".into(), &id.as_str().into())
    );
    assert_eq!(node.json("create")["version"]["version"], "v1");
}

#[test]
fn a_restored_backup_that_lacks_the_reported_version_is_not_rotated_past_it() {
    let mut node = Node::new(true);
    node.json("create");
    let backup = std::fs::read(node.keyring()).unwrap();
    let made = node.json("rotate --activate-in 0s");
    let id = made["version"]["id"].as_str().unwrap().to_owned();
    node.report(2, &id);
    std::fs::write(node.keyring(), &backup).unwrap();
    node.now += 60;
    let import = format!("import --hex {}", node.key_file("1f".to_owned() + &"00".repeat(31)));
    let list = node.text("list").good();
    assert!(
        list.data.contains("v1 ") && !list.data.contains("primary"),
        "{}",
        list.data
    );
    assert!(
        list.talk.contains(&format!("version v2 with id {id}")) && list.talk.contains("accept-loss"),
        "{}",
        list.talk
    );
    assert_eq!(node.list(), [state("v1", "active", false)]);
    for line in [
        "rotate",
        "rotate --activate-in 10m",
        "activate v1 --in 10m",
        "create",
        &import,
    ] {
        let said = node.text(line).refused();
        assert!(
            said.contains(&format!(
                "version v2 with id {id}, which this node has reported as primary, is missing"
            )),
            "{line}: {said}"
        );
        assert!(said.contains(&format!("accept-loss {id}")), "{line}: {said}");
        assert_eq!(std::fs::read(node.keyring()).unwrap(), backup, "{line}");
    }
    node.json(&format!("accept-loss {id} --confirm kube-root.v2"));
    assert_eq!(node.json("rotate")["version"]["version"], "v2");
}

#[test]
fn a_store_that_can_not_be_read_is_never_a_loss() {
    let node = Node::new(true);
    let id = node.json("create")["version"]["id"].as_str().unwrap().to_owned();
    node.report(1, &id);
    std::fs::write(node.keyring(), "{").unwrap();
    let error = node
        .text(&format!("accept-loss {id} --confirm kube-root.v1"))
        .failed(FailureKind::Failed);
    assert!(error.contains("changed by hand or damaged"), "{error}");
    assert!(
        node.text("create")
            .failed(FailureKind::Failed)
            .contains("restore it from a copy")
    );
    assert_eq!(std::fs::read_to_string(node.keyring()).unwrap(), "{");
}

#[test]
fn a_missing_directory_and_a_linked_keyring_are_told_with_the_mend() {
    let node = Node::new(true);
    node.json("create");
    let real = node.file("real.json");
    std::fs::rename(node.keyring(), &real).unwrap();
    std::os::unix::fs::symlink(&real, node.keyring()).unwrap();
    for line in ["list", "create", "rotate"] {
        let (_, said) = node.text(line).failure.unwrap();
        assert!(
            said.contains("is a symbolic link: name the file itself"),
            "{line}: {said}"
        );
    }
    std::fs::remove_dir_all(node.directory.path()).unwrap();
    let said = node.text("create").failed(FailureKind::Failed);
    assert!(said.contains("does not exist (install -d -m 0700 /"), "{said}");
}

#[test]
fn for_trying_out_create_makes_the_private_directory() {
    let directory = tempfile::tempdir().unwrap();
    let new = directory.path().join("a/new");
    let typed = |command: &str| {
        let mut typed = std::process::Command::new(env!("CARGO_BIN_EXE_dekhand"));
        typed.args(["keys", command, "--dev", "--dir"]).arg(&new);
        typed.output().unwrap()
    };
    assert!(!typed("list").status.success());
    assert!(!new.exists(), "only what makes a keyring makes its directory");
    let created = typed("create");
    assert!(created.status.success(), "{created:?}");
    assert_eq!(std::fs::metadata(&new).unwrap().permissions().mode() & 0o7777, 0o700);
    assert!(new.join("keyring.json").exists());
    assert_eq!(typed("create").status.code(), Some(5));
}

#[test]
fn of_two_rotations_at_once_one_is_told_of_the_other() {
    let node = Node::new(true);
    node.json("create");
    let results: Vec<bool> = std::thread::scope(|scope| {
        let run = || scope.spawn(|| node.text("rotate").failure.is_none());
        let threads = [run(), run(), run()];
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(
        results.iter().filter(|good| **good).count(),
        1,
        "the others are refused: one is pending"
    );
    assert_eq!(
        node.list(),
        [state("v1", "active", true), state("v2", "pending", false)]
    );
}

#[test]
fn a_clock_far_off_dates_nothing_by_itself() {
    let mut node = Node::new(true);
    node.json("create");
    node.json("rotate");
    node.now = 60;
    let said = node.text("activate --in 10m").refused();
    assert!(said.contains("1970-01-01T00:01:00Z"), "{said}");
    node.now = NOW;
    assert!(
        node.text("activate --at 2026-03-01T11:59:59Z")
            .refused()
            .contains("has passed")
    );
    let talk = node.text("activate v2 --in 10m").good().talk;
    assert!(
        talk.contains("from 2026-03-01T12:10:00Z on; this node's clock says 2026-03-01T12:00:00Z"),
        "{talk}"
    );
}

#[test]
fn an_unknown_root_key_is_a_slip_of_the_command_line() {
    let node = Node::new(true);
    let said = node.text("create --root-key other").failed(FailureKind::Usage);
    assert!(said.contains("it has kube-root"), "{said}");
}

#[test]
fn the_command_line_takes_what_goes_together() {
    let parses = |line: &str| Line::try_parse_from(["dekhand-keys"].into_iter().chain(line.split_whitespace())).is_ok();
    for good in [
        "create --config /etc/dekhand/config.yaml",
        "create --dev --dir /tmp/x",
        "list --root-key a",
        "rotate --activate-in 10m",
        "verify --record",
        "verify --record v2",
        "verify --against -",
        "activate --in 1h30m",
        "activate 2 --at 2026-03-01T12:00:00Z",
        "retire 00112233445566778899aabbccddeeff --unaudited",
        "restore v1",
        "destroy v1",
        "import --base64url -",
        "accept-loss 00112233445566778899aabbccddeeff",
    ] {
        assert!(parses(good), "{good}");
    }
    for wrong in [
        "create --dir /tmp/x",
        "create --dev --config x",
        "rotate --activate-in soon",
        "verify",
        "verify --record --against x",
        "activate",
        "activate --in 1m --at 2026-03-01T12:00:00Z",
        "activate --at tomorrow",
        "retire",
        "retire latest",
        "import x",
        "import --hex --raw x",
        "import --hex",
        "accept-loss v1",
    ] {
        assert!(!parses(wrong), "{wrong}");
    }
}

#[test]
fn a_key_typed_in_place_of_a_file_is_not_repeated() {
    let node = Node::new(true);
    for key in [
        "00112233445566778899aabbccddeeff00112233445566778899aabbccddee12",
        "0123456789abcdef0123456789abcdef",
    ] {
        let error = node.text(&format!("import --hex {key}")).failed(FailureKind::Failed);
        assert!(error.contains("looks like a key:") && !error.contains(key), "{error}");
    }
}

#[test]
fn every_command_on_the_page_about_rotation_parses() {
    let page = include_str!("../deploy/rotation.md");
    let typed: Vec<&str> = page
        .lines()
        .filter_map(|line| line.split_once("$ dekhand keys "))
        .filter(|(host, _)| host.is_empty() || host.starts_with("node-"))
        .map(|(_, typed)| typed.split(" > ").next().unwrap_or(typed))
        .collect();
    assert!(typed.len() > 10, "{typed:?}");
    for line in typed {
        let parsed = Line::try_parse_from(["dekhand-keys"].into_iter().chain(line.split_whitespace()));
        assert!(parsed.is_ok(), "{line}");
    }
}
