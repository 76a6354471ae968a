//! Tokens that do not create a root key with the required attributes: the error, and the objects that are left.

use std::process::Output;

use token_shim::token::Token;

use support::token_node::Node;
use support::token_node::Settings;

fn on(control: &str) -> Node {
    let node = Node::on(&Token::new().into(), Settings::default());
    node.token.set(control);
    node
}

fn create(node: &Node) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = node.command(&["keys", "create"]);
    (status.code(), String::from_utf8(stderr).unwrap())
}

fn versions(node: &Node) -> usize {
    node.keys(&["list"])["root_keys"][0]["versions"]
        .as_array()
        .unwrap()
        .len()
}

#[test]
fn a_refused_template_says_which_attribute() {
    for (attribute, value) in [
        ("CKA_SENSITIVE", "0x13"),
        ("CKA_PRIVATE", "0x12"),
        ("CKA_EXTRACTABLE=false", "0xd1"),
        ("CKA_LABEL", "0x13"),
    ] {
        let node = on(&format!("refuse-attribute {attribute} {value}"));
        let (code, said) = create(&node);
        let name = attribute.split('=').next().unwrap();
        assert_eq!(code, Some(5), "{attribute}: {said}");
        assert!(said.contains(name), "{attribute}: {said}");
        assert_eq!(versions(&node), 0, "{attribute}");
    }
}

#[test]
fn a_key_that_the_token_makes_weaker_than_asked_is_destroyed_again() {
    let node = on("weak-template");
    let (code, said) = create(&node);
    assert_eq!(code, Some(5), "{said}");
    assert!(
        said.contains("CKA_SENSITIVE is false") && said.contains("the new key was destroyed"),
        "{said}"
    );
    assert_eq!(versions(&node), 0);
}

#[test]
fn a_token_that_changes_no_label_is_a_case_for_versions_in_the_configuration() {
    let node = on("like cloudhsm");
    let (code, said) = create(&node);
    assert_ne!(code, Some(0), "{said}");
    for part in ["it is pending", "does not change a label", "`versions:`"] {
        assert!(said.contains(part), "{part}: {said}");
    }
    // The key is in the token, and the output has the next steps.
    let list = node.keys(&["list"]);
    let id = list["root_keys"][0]["versions"][0]["id"].as_str().unwrap();
    let line = format!("versions: [{{id: {id}, number: 1, activates: 2026-01-01T00:00:00Z}}]");
    let pkcs11 = &[line.as_str()];
    node.configure(Settings {
        pkcs11,
        ..Settings::default()
    });
    let _daemon = node.start();
}

#[test]
fn a_token_that_shows_no_attributes_is_no_obstacle() {
    let hidden = [
        "CKA_NEVER_EXTRACTABLE",
        "CKA_ALWAYS_SENSITIVE",
        "CKA_CHECK_VALUE",
        "CKA_START_DATE",
    ];
    let lines: Vec<_> = hidden.iter().map(|name| format!("hide-attribute {name}")).collect();
    let node = on(&lines.join("\n"));
    assert_eq!(create(&node).0, Some(0));
    assert_eq!(versions(&node), 1);
}
