//! Promises of `--print`.

use std::path::PathBuf;

use super::*;

#[test]
fn what_is_printed_is_not_done() {
    let node = Node::rotated();
    let before = node.token.admin.now();
    let sheet = node.json("rotate --print");
    assert_eq!(
        (&sheet["version"], &sheet["label"]),
        (&"v3".into(), &"kube-root.v3".into())
    );
    let text = node.text("rotate --print").good();
    assert!(text.talk.contains("nothing was changed"), "{}", text.talk);
    for expected in [
        "CKA_ID",
        "CKA_EXTRACTABLE",
        "kube-root.v3",
        "pkcs11-tool",
        "dekhand keys activate",
    ] {
        assert!(text.data.contains(expected), "{expected} is not in\n{}", text.data);
    }
    assert!(
        !text.data.contains(sheet["id"].as_str().unwrap()),
        "each sheet has an id of its own"
    );
    let retire = node.text("retire v1 --unaudited --print").good().data;
    assert!(retire.contains("CKA_LABEL  kube-root.v1~20260301T1200Z"), "{retire}");
    let import = node.text("import --print").good().data;
    assert!(import.contains("CKA_VALUE") && !import.contains("--keygen"), "{import}");
    assert_eq!(node.token.admin.now(), before);
    assert!(node.roles().iter().all(|role| *role == Role::Look));
}

#[test]
fn the_rules_hold_for_what_is_printed_too() {
    let node = Node::rotated();
    for (line, said) in [
        ("create --print", "has versions already"),
        ("retire v2 --unaudited --print", "is the primary"),
        ("retire v1 --print", "--unaudited"),
        ("restore v1 --print", "nothing to restore"),
        ("destroy v1 --unaudited --print", "is not retired"),
        ("activate --in 10m --print", "no version is pending"),
    ] {
        let error = node.text(line).failed(FailureKind::Refused);
        assert!(error.contains(said), "{line}: {error}");
    }
}

#[test]
fn a_ceremony_names_the_labels_to_set_and_the_objects_to_delete() {
    let retired = State::RetiredSince(Timestamp::from_unix(NOW - 91 * DAY));
    let node = Node::new([
        version(1, 1, retired),
        version(2, 2, active_from(NOW - 100 * DAY)),
        version(3, 3, State::Pending),
    ]);
    let sheet = node.json("activate --in 10m --print");
    assert_eq!(
        (&sheet["action"], &sheet["label"]),
        (&"activate".into(), &"kube-root.v3@20260301T1211Z".into())
    );
    let text = node.text("restore v1 --print").good().data;
    assert!(text.contains("CKA_LABEL  kube-root.v1@2025"), "{text}");
    let answer = node.text("destroy v1 --unaudited --print").good();
    let object = format!("CKA_ID     {}\n     CKA_LABEL  kube-root.v1\n", id(1));
    assert!(answer.data.contains(&object), "{}", answer.data);
    assert!(answer.talk.contains("cannot be undone"), "{}", answer.talk);
}

#[test]
fn a_first_key_can_be_planned_for_a_token_that_nobody_can_read_unless_a_node_has_seen_one() {
    let mut node = Node::new([]);
    node.token.away = true;
    let answer = node.text("create --print").good();
    assert!(
        answer.talk.contains("cannot be read") && answer.talk.contains("`kube-root.v`"),
        "{}",
        answer.talk
    );
    assert!(answer.data.contains("kube-root.v1@20260301T1200Z"), "{}", answer.data);
    report(&node, "0102030405060708");
    node.text("create --print").failed(FailureKind::Unreachable);
}

#[test]
fn a_keyring_has_no_tools_of_its_own_to_print_for() {
    let target = Target {
        name: "kube-root".parse().unwrap(),
        shared: true,
        store: RootKeyStore::Keyring(crate::backend::keyring::KeyringOptions {
            file: PathBuf::from("/nowhere/keyring.json"),
        }),
        state: PathBuf::from("/nowhere"),
    };
    let said = run("create --print", OutputFormat::Text, &target, &Workers::none());
    assert!(said.failed(FailureKind::Usage).contains("--print"));
}

#[test]
fn print_goes_with_what_a_ceremony_can_do() {
    let parses = |line: &str| CommandLine::try_parse_from(["dekhand-keys"].into_iter().chain(line.split(' '))).is_ok();
    assert!(parses("rotate --print") && parses("import --print"));
    assert!(
        !parses("rotate --print --activate-in 10m"),
        "a date in the same breath needs dekhand"
    );
    assert!(!parses("import --print --hex") && !parses("import --hex") && !parses("list --print"));
}
