//! `dekhand keys` on a store that is lost, restored, linked or unreadable.

use std::os::unix::fs::PermissionsExt as _;

use dekhand::cli::keys::error::FailureKind;

use crate::node::Node;
use crate::node::state;

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
