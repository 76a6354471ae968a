//! `dekhand token`: its output about modules and tokens, with and without a PIN.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;

use serde_json::Value;
use token_shim::token::Token;

use support::daemon::dekhand;
use support::token_node::Node;
use support::token_node::Settings;

/// `dekhand token ...` without a configuration.
fn by_hand(token: &Token, module: &Path, arguments: &[&str]) -> Output {
    let mut line = vec!["token".to_owned()];
    line.extend(arguments.iter().map(ToString::to_string));
    line.extend(["--module".to_owned(), module.display().to_string()]);
    for (name, path) in token.environment() {
        line.extend(["--environment".to_owned(), format!("{name}={}", path.display())]);
    }
    dekhand(&line.iter().map(String::as_str).collect::<Vec<_>>())
}

fn shown(output: &Output) -> Value {
    assert!(output.status.success(), "{}", said(output));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn tokens_are_listed_without_a_pin() {
    let token = Token::new();
    token.add("other");
    let list = shown(&by_hand(&token, &token_shim::path(), &["list", "--output", "json"]));
    let tokens = list["modules"][0]["tokens"].as_array().unwrap();
    let named = |label: &str| tokens.iter().find(|token| token["label"] == label).unwrap();
    let kube = named("kube");
    assert_eq!((&kube["initialized"], &kube["pin"]), (&true.into(), &"good".into()));
    assert_eq!(
        (&kube["login_required"], &kube["model"]),
        (&true.into(), &"SoftHSM v2".into())
    );
    assert!(!kube["serial"].as_str().unwrap().is_empty());
    assert_ne!(kube["slot"], named("other")["slot"]);
    let text = by_hand(&token, &token_shim::path(), &["list"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("\n  kube\n") && text.contains("SoftHSM"), "{text}");
    assert_eq!(token.calls("C_Login"), 0);
}

#[test]
fn a_token_is_described_without_a_pin_as_far_as_it_allows() {
    let token = Token::new();
    let info = by_hand(&token, &token_shim::path(), &["info", "--output", "json"]);
    let info = shown(&info);
    assert_eq!(
        (&info["token"]["label"], &info["versions"]),
        (&"kube".into(), &Value::Null)
    );
    assert!(
        info["mechanisms"]
            .as_array()
            .unwrap()
            .iter()
            .any(|name| name == "aes-gcm"),
        "{info}"
    );
    token.add("other");
    let output = by_hand(&token, &token_shim::path(), &["info"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(
        said(&output).contains("kube, other") || said(&output).contains("other, kube"),
        "{}",
        said(&output)
    );
    assert!(
        said(&output).contains("hint: name one with --token"),
        "{}",
        said(&output)
    );
    let output = by_hand(&token, &token_shim::path(), &["info", "--token", "pkcs11:token=other"]);
    assert!(String::from_utf8(output.stdout).unwrap().contains("\n  other\n"));
}

#[test]
fn with_a_configuration_the_root_keys_versions_are_shown() {
    let node = Node::new();
    let output = node.command(&["token", "info", "--output", "json"]);
    let info = shown(&output);
    assert_eq!(
        (&info["root_key"], &info["versions"][0]["version"]),
        (&"test".into(), &"v1".into())
    );
    let text = node.command(&["token", "info"]);
    let text = String::from_utf8(text.stdout).unwrap();
    assert!(text.contains("test") && text.contains("v1     active since"), "{text}");
}

#[test]
fn a_probe_says_which_mechanism_is_used_and_why_the_others_are_not() {
    let node = Node::new();
    let probe = shown(&node.command(&["token", "probe", "--output", "json"]));
    assert_eq!((&probe["root_key"], &probe["version"]), (&"test".into(), &"v1".into()));
    let mechanisms = probe["mechanisms"].as_array().unwrap();
    let used: Vec<&Value> = mechanisms
        .iter()
        .filter(|mechanism| mechanism["used"] == true)
        .collect();
    assert_eq!(used.len(), 1, "{probe}");
    assert_eq!(
        (&used[0]["mechanism"], &used[0]["verdict"]),
        (&"aes-gcm".into(), &"good".into())
    );
    assert!(used[0]["wrap_ms"].as_f64().unwrap() > 0.0, "{probe}");
    for other in mechanisms.iter().filter(|mechanism| mechanism["used"] == false) {
        assert!(other["reason"].is_string(), "{other}");
    }
    let text = String::from_utf8(node.command(&["token", "probe"]).stdout).unwrap();
    assert!(
        text.contains("aes-gcm          used") && text.contains("unwrap"),
        "{text}"
    );
}

#[test]
fn a_probe_without_a_pin_says_how_to_give_one() {
    let token = Token::new();
    let output = by_hand(&token, &token_shim::path(), &["probe"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("hint: name a file with the token's PIN with --pin-file"));
}

#[test]
fn a_token_that_lies_is_found_out() {
    let node = Node::new();
    node.token.set("no-tamper-detection\n");
    let probe = shown(&node.command(&["token", "probe", "--output", "json"]));
    let gcm = probe["mechanisms"].as_array().unwrap().iter();
    let gcm = gcm
        .clone()
        .find(|mechanism| mechanism["mechanism"] == "aes-gcm")
        .unwrap();
    assert_eq!((&gcm["verdict"], &gcm["used"]), (&"wrong".into(), &false.into()));
}

#[test]
fn a_throwaway_key_is_tried_where_there_is_no_root_key_yet() {
    let token = Token::new();
    let node = Node::on(&token.into(), Settings::default());
    let probe = shown(&node.command(&["token", "probe", "--output", "json"]));
    assert_eq!(probe["version"], Value::Null);
    let output = dekhand(&["keys", "list", "--config", &node.config(), "--output", "json"]);
    let list: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        list["root_keys"][0]["versions"],
        serde_json::json!([]),
        "it is gone again"
    );
}

#[test]
fn a_module_that_does_not_load_names_what_is_missing() {
    let token = Token::blank();
    let output = by_hand(&token, Path::new("/nonexistent/libhsm.so"), &["list"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("/nonexistent/libhsm.so"), "{}", said(&output));
    let output = by_hand(&token, &needs_a_library(token.path("").as_path()), &["list"]);
    assert_eq!(output.status.code(), Some(4), "{}", said(&output));
    assert!(said(&output).contains("libmissing.so"), "{}", said(&output));
}

/// A module that is linked to a missing library.
fn needs_a_library(directory: &Path) -> std::path::PathBuf {
    let compile = |output: &Path, more: &[&str]| {
        let output = Command::new("cc")
            .args(["-shared", "-x", "c", "/dev/null", "-o"])
            .arg(output)
            .args(["-x", "none", "-Wl,--no-as-needed"])
            .args(more)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
    };
    let (library, module) = (directory.join("libmissing.so"), directory.join("module.so"));
    compile(&library, &["-Wl,-soname,libmissing.so"]);
    compile(&module, &[library.to_str().unwrap()]);
    std::fs::remove_file(library).unwrap();
    module
}

#[test]
fn the_command_line_names_a_module_or_a_configuration() {
    let output = dekhand(&["token", "list", "--module", "/m.so", "--config", "/c.yaml"]);
    assert_eq!(output.status.code(), Some(2));
    let output = dekhand(&["token", "list", "--token", "kube"]);
    assert_eq!(output.status.code(), Some(2));
    let node = support::keyring_node::Node::new();
    let output = dekhand(&["token", "list", "--config", &node.config()]);
    assert_eq!(output.status.code(), Some(2), "{}", said(&output));
    assert!(said(&output).contains("is in a token"), "{}", said(&output));
}

#[test]
fn a_rejected_pin_that_nothing_remembers_is_not_said_to_be_remembered() {
    let token = Token::new();
    let pin = token.path("pin");
    std::fs::write(&pin, "0000").unwrap();
    std::fs::set_permissions(&pin, std::fs::Permissions::from_mode(0o600)).unwrap();
    let arguments = ["probe", "--token", "kube", "--pin-file", pin.to_str().unwrap()];
    let said = said(&by_hand(&token, &token_shim::path(), &arguments));
    assert!(said.contains("the next command tries the PIN again"), "{said}");
    assert!(!said.contains("not tried again"), "{said}");
}
