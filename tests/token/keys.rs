//! `dekhand keys` on tokens, by the program itself: every command that also works on a keyring.

use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;
use token_shim::token::PIN;
use token_shim::token::Token;

use support::token_node::Node;
use support::token_node::Settings;

const ID: &str = "00112233445566778899aabbccddeeff";
const OWN: Settings<'static> = Settings {
    shared: false,
    pkcs11: &[],
    lines: &[],
};

/// Puts a key into a token with SoftHSM's own tool, as in a ceremony.
fn put(token: &Token, label: &str, id: &str, key: [u8; 32]) {
    let file = token.path("key");
    std::fs::write(&file, key).unwrap();
    let output = Command::new("softhsm2-util")
        .arg("--import")
        .arg(&file)
        .args(["--aes", "--token", "kube", "--pin", PIN, "--label", label, "--id", id])
        .env("SOFTHSM2_CONF", token.path("softhsm2.conf"))
        .stdin(Stdio::null())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A node on a token with these versions.
fn node(versions: &[(&str, &str)], settings: Settings<'_>) -> Node {
    let token = Arc::new(Token::new());
    for (label, id) in versions {
        put(&token, label, id, [7; 32]);
    }
    Node::on(&token, settings)
}

fn keys(node: &Node, arguments: &[&str]) -> Output {
    node.command(&[&["keys"], arguments].concat())
}

fn refused(node: &Node, arguments: &[&str], code: i32) -> String {
    let output = keys(node, arguments);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    said
}

fn versions(node: &Node) -> Vec<Value> {
    node.keys(&["list"])["root_keys"][0]["versions"]
        .as_array()
        .unwrap()
        .clone()
}

#[test]
fn a_root_key_is_made_in_the_token_listed_and_rotated() {
    let node = Node::new();
    let list = node.keys(&["list"]);
    let root_key = &list["root_keys"][0];
    assert_eq!(
        (&root_key["backend"], &root_key["shared"]),
        (&"pkcs11".into(), &true.into())
    );
    let v1 = &root_key["versions"][0];
    assert_eq!((&v1["state"], &v1["primary"]), (&"active".into(), &true.into()));
    assert_eq!(v1["id"].as_str().unwrap().len(), 32);
    assert_eq!((&v1["key"], &v1["warnings"]), (&"AES-256".into(), &json!([])));
    for (attribute, wanted) in [
        ("SENSITIVE", true),
        ("ALWAYS_SENSITIVE", true),
        ("EXTRACTABLE", false),
        ("NEVER_EXTRACTABLE", true),
        ("WRAP", false),
        ("UNWRAP", false),
    ] {
        assert_eq!(v1["attributes"][attribute], json!(wanted), "{attribute}");
    }
    assert!(refused(&node, &["create"], 5).contains("dekhand keys rotate"));
    let made = node.keys(&["rotate", "--activate-in", "10m"]);
    assert_eq!(made["version"]["version"], "v2");
    let since = made["version"]["since"].as_str().unwrap();
    assert!(since.ends_with(":00Z"), "labels have minutes: {since}");
    assert_eq!(
        versions(&node)[1]["since"],
        since,
        "as it was shown, so it is in the token"
    );
    assert!(refused(&node, &["rotate"], 5).contains("becomes active at"));
}

#[test]
fn a_version_is_retired_restored_and_destroyed_in_the_token() {
    let node = node(
        &[
            ("test.v1~20250101T0000Z", ID),
            ("test.v2@20250101T0000Z", "0202020202020202"),
            ("test.v3@20250201T0000Z", "0303030303030303"),
        ],
        Settings::default(),
    );
    let retired = node.keys(&["retire", "v2", "--unaudited"]);
    assert_eq!(retired["version"]["state"], "retired");
    let restored = node.keys(&["restore", "v2"]);
    assert_eq!(
        (&restored["version"]["state"], &restored["version"]["primary"]),
        (&"active".into(), &false.into())
    );
    assert!(refused(&node, &["destroy", "v1", "--unaudited"], 5).contains("--confirm test.v1"));
    node.keys(&["destroy", "v1", "--unaudited", "--confirm", "test.v1"]);
    let left: Vec<Value> = versions(&node)
        .into_iter()
        .map(|version| version["version"].clone())
        .collect();
    assert_eq!(left, ["v2", "v3"]);
}

#[test]
fn a_date_is_given_in_the_token() {
    let node = Node::new();
    node.keys(&["rotate"]);
    let dated = node.keys(&["activate", "--in", "1h"]);
    assert_eq!(versions(&node)[1]["since"], dated["version"]["since"]);
    let before = dated["version"]["since"].clone();
    let dated = node.keys(&["activate", "v2", "--in", "2h"]);
    assert_eq!(dated["before"], before);
}

#[test]
fn a_key_of_another_system_is_imported_with_a_warning() {
    let node = Node::on(&Token::new().into(), Settings::default());
    let file = node.path("key");
    std::fs::write(&file, *b"a key which another system made!").unwrap();
    std::fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let output = keys(&node, &["import", "--raw", file.to_str().unwrap(), "--output", "json"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success(), "{said}");
    assert!(said.contains("warning: test v1: "), "{said}");
    let made: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(made["attributes"]["NEVER_EXTRACTABLE"], false);
    assert!(!made["warnings"].as_array().unwrap().is_empty(), "{made}");
}

#[test]
fn a_weak_key_of_a_ceremony_is_warned_of_and_works() {
    let node = node(&[("test.v1@20250101T0000Z", ID)], Settings::default());
    let v1 = &versions(&node)[0];
    assert_eq!((&v1["id"], &v1["state"]), (&ID.into(), &"active".into()));
    assert!(
        !v1["warnings"].as_array().unwrap().is_empty(),
        "SoftHSM's tool makes keys that wrap: {v1}"
    );
    let output = keys(&node, &["list"]);
    assert!(String::from_utf8(output.stderr).unwrap().contains("warning: test v1: "));
    node.keys(&["verify", "--record", "v1"]);
}

fn record(node: &Node) -> String {
    let output = keys(node, &["verify", "--record"]);
    assert!(output.status.success(), "{output:?}");
    let file = node.path("record.json");
    std::fs::write(&file, output.stdout).unwrap();
    file.to_str().unwrap().to_owned()
}

#[test]
fn verify_finds_equal_ids_over_different_keys_in_separate_tokens() {
    let (one, same, other) = (Token::new(), Token::new(), Token::new());
    let label = "test.v1@20250101T0000Z";
    put(&one, label, ID, [7; 32]);
    put(&same, label, ID, [7; 32]);
    put(&other, label, ID, [8; 32]);
    let [one, same, other] = [one, same, other].map(|token| Node::on(&token.into(), OWN));
    let record = record(&one);
    let proven = same.keys(&["verify", "--against", &record]);
    assert_eq!((&proven["ok"], &proven["id"]), (&true.into(), &ID.into()));
    assert!(refused(&other, &["verify", "--against", &record], 1).contains("ANOTHER KEY"));
    let shared = "`shared: true`";
    assert!(refused(&one, &["rotate", "--activate-in", "10m"], 5).contains(shared));
}

#[test]
fn what_print_says_is_what_a_ceremony_needs_and_nothing_is_done() {
    let node = Node::on(&Token::new().into(), OWN);
    let sheet = node.keys(&["create", "--print"]);
    let (id, label) = (sheet["id"].as_str().unwrap(), sheet["label"].as_str().unwrap());
    assert!(versions(&node).is_empty());
    put(&node.token, label, id, [7; 32]);
    let listed = versions(&node);
    assert_eq!((&listed[0]["id"], &listed[0]["primary"]), (&id.into(), &true.into()));
    assert!(refused(&node, &["create", "--print"], 5).contains("has versions already"));
    let sheet = node.keys(&["rotate", "--print"]);
    assert_eq!((&sheet["version"], &sheet["label"]), (&"v2".into(), &"test.v2".into()));
    put(&node.token, "test.v2", sheet["id"].as_str().unwrap(), [8; 32]);
    let sheet = node.keys(&["activate", "--in", "10m", "--print"]);
    assert!(sheet["label"].as_str().unwrap().starts_with("test.v2@"), "{sheet}");
    assert_eq!(versions(&node)[1]["since"], Value::Null);
}

#[test]
fn a_first_key_is_planned_without_a_pin_that_works() {
    let node = Node::on(&Token::new().into(), OWN);
    node.set_pin("4321");
    let output = keys(&node, &["create", "--print"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.success() && said.contains("cannot be read"), "{said}");
    assert!(String::from_utf8(output.stdout).unwrap().contains("test.v1@"));
}

#[test]
fn versions_of_the_configuration_are_verified_and_destroyed_but_not_labelled() {
    let lines = [
        "versions:",
        "  - {number: 1, id: \"0101010101010101\", activates: 2025-01-01T00:00:00Z, retired: 2025-03-01T00:00:00Z}",
        "  - {number: 2, label: of a ceremony, activates: 2025-02-01T00:00:00Z}",
    ];
    let settings = Settings {
        pkcs11: &lines,
        ..Settings::default()
    };
    let node = node(&[("any", "0101010101010101"), ("of a ceremony", ID)], settings);
    let list = versions(&node);
    assert_eq!(
        (&list[0]["state"], &list[1]["primary"]),
        (&"retired".into(), &true.into())
    );
    for command in [
        &["create"][..],
        &["rotate"],
        &["activate", "--in", "10m"],
        &["retire", "v2", "--unaudited"],
        &["restore", "v1"],
    ] {
        assert!(refused(&node, command, 5).contains("`versions:`"), "{command:?}");
    }
    node.keys(&["verify", "--record", "v2"]);
    let sheet = node.keys(&["restore", "v1", "--print"]);
    assert_eq!(sheet["entry"]["retired"], Value::Null);
    let sheet = node.keys(&["destroy", "v1", "--unaudited", "--print"]);
    assert_eq!(sheet["id"], "0101010101010101");
    let output = keys(&node, &["destroy", "v1", "--unaudited", "--confirm", "test.v1"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(
        output.status.success() && said.contains("remove v1 from `versions:`"),
        "{said}"
    );
}

#[test]
fn changing_uses_the_admin_pin_and_looking_the_daemons() {
    let token = Arc::new(Token::new());
    let node = Node::on(&token, Settings::default());
    let admin = node.path("admin-pin");
    let line = format!("admin: {{pin: {{file: {}}}}}", admin.display());
    let settings = Settings {
        pkcs11: &[&line],
        ..Settings::default()
    };
    node.configure(settings);
    let said = refused(&node, &["create"], 4);
    assert!(said.contains("admin-pin"), "the admin's PIN is not there: {said}");
    assert!(versions(&node).is_empty(), "looking needs the daemon's");
    std::fs::copy(node.path("pin"), &admin).unwrap();
    node.keys(&["create"]);
    std::fs::remove_file(node.path("pin")).unwrap();
    node.keys(&["rotate"]);
}

#[test]
fn a_rejected_pin_is_told_with_what_to_do_and_not_tried_again() {
    let node = Node::new();
    node.set_pin("4321");
    node.token.forget_calls();
    let said = refused(&node, &["list"], 4);
    assert!(said.contains("PIN") && said.contains("hint: "), "{said}");
    assert!(!said.contains("4321"), "{said}");
    assert_eq!(node.token.calls("C_Login"), 1);
    refused(&node, &["rotate"], 4);
    refused(&node, &["list"], 4);
    assert_eq!(node.token.calls("C_Login"), 1);
    node.set_pin(PIN);
    node.keys(&["rotate"]);
}

#[test]
fn a_token_that_is_not_there_is_unreachable_and_named() {
    let node = Node::on(&Token::blank().into(), Settings::default());
    let said = refused(&node, &["list"], 4);
    assert!(said.contains("kube"), "{said}");
}

#[test]
fn a_command_leaves_no_process_behind() {
    let node = Node::new();
    node.keys(&["list"]);
    let control = node.token.path("control");
    let left: Vec<String> = Path::new("/proc")
        .read_dir()
        .unwrap()
        .filter_map(|entry| {
            let path = entry.unwrap().path();
            let environment = std::fs::read(path.join("environ")).ok()?;
            let text = String::from_utf8_lossy(&environment).into_owned();
            text.contains(control.to_str().unwrap())
                .then(|| path.display().to_string())
        })
        .collect();
    assert_eq!(left, Vec::<String>::new());
}
