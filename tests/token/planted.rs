//! Public keys in the token, and how commands show and handle them.

use serde_json::Value;
use token_shim::token::Token;

use support::token_node::Node;
use support::token_node::Settings;

const LABEL: &str = "test.v7@20260101T0000Z";
const ID: &str = "00112233445566778899aabbccddeeff";

/// How a token handles `CKA_PRIVATE`.
const TOKENS: [&str; 3] = ["", "search-ignores CKA_PRIVATE", "search-refuses CKA_PRIVATE"];

fn planted(control: &str) -> Node {
    let node = Node::with(Settings::default());
    node.token.set(control);
    node.token.plant(LABEL, ID, 7);
    node
}

fn run(node: &Node, arguments: &[&str]) -> (Option<i32>, Value, String) {
    let output = node.command(&[arguments, &["--output", "json"]].concat());
    let shown = serde_json::from_slice(&output.stdout).unwrap_or_default();
    (output.status.code(), shown, String::from_utf8(output.stderr).unwrap())
}

#[test]
fn every_command_shows_a_public_key_and_counts_it_for_nothing() {
    for control in TOKENS {
        let node = planted(control);
        let (_, list, said) = run(&node, &["keys", "list"]);
        let root_key = &list["root_keys"][0];
        assert_eq!(root_key["versions"].as_array().unwrap().len(), 1, "{control}: {list}");
        let left_out = root_key["left_out"][0].as_str().unwrap();
        assert!(
            left_out.contains("test.v7") && left_out.contains("public object"),
            "{left_out}"
        );
        assert!(said.contains(&format!("warning: {left_out}")), "{said}");
        let (_, info, said) = run(&node, &["token", "info"]);
        assert_eq!(info["versions"].as_array().unwrap().len(), 1, "{control}: {info}");
        assert_eq!(info["left_out"][0], left_out);
        assert!(said.contains(left_out), "{said}");
        for arguments in [
            &["keys", "rotate"][..],
            &["keys", "verify", "--record"],
            &["token", "probe"],
        ] {
            let (code, shown, said) = run(&node, arguments);
            assert_eq!(code, Some(0), "{arguments:?}: {said}");
            assert!(said.contains(left_out), "{arguments:?}: {said}");
            assert!(!shown.to_string().contains(ID), "{arguments:?}: {shown}");
        }
        // The next version is v2, in spite of the planted keys.
        let (_, list, _) = run(&node, &["keys", "list"]);
        assert_eq!(list["root_keys"][0]["versions"][1]["version"], "v2", "{list}");
    }
}

#[test]
fn a_public_twin_keeps_no_command_from_the_private_key() {
    for control in TOKENS {
        let node = planted(control);
        let (_, list, _) = run(&node, &["keys", "list"]);
        let v1 = &list["root_keys"][0]["versions"][0];
        node.token
            .plant(v1["label"].as_str().unwrap(), v1["id"].as_str().unwrap(), 7);
        let (code, _, said) = run(&node, &["keys", "verify", "--record", "v1"]);
        assert_eq!(code, Some(0), "{control}: {said}");
        let (_, list, _) = run(&node, &["keys", "list"]);
        assert_eq!(
            list["root_keys"][0]["versions"][0]["attributes"]["PRIVATE"], true,
            "{list}"
        );
    }
}

#[test]
fn with_private_false_public_keys_are_versions() {
    let pkcs11 = &["private: false"];
    let node = Node::on(
        &Token::new().into(),
        Settings {
            pkcs11,
            ..Settings::default()
        },
    );
    node.token.plant(LABEL, ID, 7);
    let (_, list, said) = run(&node, &["keys", "list"]);
    assert_eq!(list["root_keys"][0]["versions"][0]["id"], ID, "{list}");
    assert!(!said.contains("is left out"), "{said}");
}

/// Keys that were made with the PIN and another tool, and the reason why they do not count.
const MISTAKES: [(&[&str], &str); 6] = [
    (&["--label", "test"], "a version's label is test.vN"),
    (&["--label", "test.v1"], "its CKA_ID has 0 bytes"),
    (
        &["--label", "test.v1@20260101T0000Z", "--id", "01"],
        "its CKA_ID has 1 bytes",
    ),
    (
        &["--label", "Test_v1@20260101T0000Z", "--id", ID],
        "a version's label is test.vN",
    ),
    (
        &["--label", "test.v1@20260101T0000", "--id", ID],
        "a version's label is test.vN",
    ),
    (&["--label", "test v1", "--id", ID], "a version's label is test.vN"),
];

#[test]
fn a_key_that_another_tool_made_with_a_mistake_is_shown_by_every_command_and_no_first_version_is_made_beside_it() {
    for (attributes, reason) in MISTAKES {
        let node = Node::on(&Token::new().into(), Settings::default());
        node.token.make_by_hand(attributes);
        for arguments in [
            &["keys", "list"][..],
            &["token", "info"],
            &["keys", "verify", "--record"],
        ] {
            let (_, _, said) = run(&node, arguments);
            assert!(
                said.contains("is left out") && said.contains(reason),
                "{arguments:?}: {said}"
            );
        }
        let (code, _, said) = run(&node, &["keys", "create"]);
        assert_eq!(code, Some(5), "{attributes:?}: {said}");
        assert!(
            said.contains("does not count as one") && said.contains(reason),
            "{said}"
        );
        let (_, list, _) = run(&node, &["keys", "list"]);
        assert_eq!(list["root_keys"][0]["versions"], serde_json::json!([]), "{list}");
    }
}

#[test]
fn two_keys_with_one_id_are_shown_and_no_first_version_is_made_beside_them() {
    let node = Node::on(&Token::new().into(), Settings::default());
    for _ in 0..2 {
        node.token.make_by_hand(&["--label", LABEL, "--id", ID]);
    }
    let (code, _, said) = run(&node, &["keys", "create"]);
    assert_eq!(code, Some(5), "{said}");
    assert!(said.contains("they share the CKA_ID"), "{said}");
}

#[test]
fn neither_a_public_key_nor_another_root_keys_version_keeps_a_first_version_from_being_made() {
    let node = Node::on(&Token::new().into(), Settings::default());
    node.token.plant("test", ID, 7);
    node.token.make_by_hand(&[
        "--label",
        "test-2.v1@20260101T0000Z",
        "--id",
        "ff112233445566778899aabbccddee00",
    ]);
    let (code, _, said) = run(&node, &["keys", "create"]);
    assert_eq!(code, Some(0), "{said}");
}
