//! What `dekhand keys` takes from a terminal, from key files and from the command line.

use std::os::unix::fs::PermissionsExt as _;

use clap::Parser as _;
use dekhand::cli::keys::error::FailureKind;
use dekhand::cli::output::Format;

use crate::node::Line;
use crate::node::Node;

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
    let first = node.run(&format!("import --hex {}", node.key_file(hex)), Format::Json);
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
    let page = include_str!("../../deploy/rotation.md");
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
