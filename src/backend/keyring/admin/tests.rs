//! Promises of the keyring's changes.

use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use super::*;
use crate::clock::Timestamp;

fn options(directory: &Path) -> KeyringOptions {
    KeyringOptions {
        file: directory.join("keyring.json"),
    }
}

fn admin(directory: &Path) -> KeyringAdmin {
    KeyringAdmin::new(&options(directory), "kube-root".parse().unwrap())
}

fn number(number: u16) -> Number {
    Number::try_from(number).unwrap()
}

/// Calls of a keyring wait only for the disk, so the first poll returns the result.
fn now<T>(call: impl Future<Output = T>) -> T {
    futures_util::FutureExt::now_or_never(call).unwrap()
}

#[test]
fn versions_are_made_dated_and_destroyed_and_the_file_stays_private() {
    let directory = tempfile::tempdir().unwrap();
    let admin = admin(directory.path());
    admin.create_file().unwrap();
    let one = now(admin.generate(number(1), State::Pending)).unwrap();
    let two = now(admin.import(number(2), State::Pending, Key::random().unwrap())).unwrap();
    let active = State::ActiveFrom(Timestamp::from_unix(1000));
    now(admin.relabel(&one.id, active)).unwrap();
    let versions = now(admin.versions()).unwrap();
    assert_eq!(
        versions,
        [
            Version {
                state: active,
                ..one.clone()
            },
            two.clone()
        ]
    );
    now(admin.destroy(&one.id)).unwrap();
    assert_eq!(now(admin.versions()).unwrap(), [two]);
    assert_eq!(now(admin.destroy(&one.id)).unwrap_err().kind(), Kind::Refusal);
    assert_eq!(now(admin.relabel(&one.id, active)).unwrap_err().kind(), Kind::Refusal);
    let mode = std::fs::metadata(admin.file().path()).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o600);
}

#[test]
fn two_writers_at_once_lose_nothing() {
    let directory = tempfile::tempdir().unwrap();
    admin(directory.path()).create_file().unwrap();
    std::thread::scope(|scope| {
        for writer in 0..4_u16 {
            let directory = directory.path();
            scope.spawn(move || {
                for round in 1..=10 {
                    // A new one each time, like a new process.
                    now(admin(directory).generate(number(100 * writer + round), State::Pending)).unwrap();
                }
            });
        }
    });
    assert_eq!(now(admin(directory.path()).versions()).unwrap().len(), 40);
}

#[test]
fn an_exclusive_writer_keeps_the_others_waiting_until_it_is_done() {
    let directory = tempfile::tempdir().unwrap();
    admin(directory.path()).create_file().unwrap();
    let held = KeyringAdmin::exclusive(&options(directory.path()), "kube-root".parse().unwrap()).unwrap();
    std::thread::scope(|scope| {
        let other = scope.spawn(|| now(admin(directory.path()).generate(number(9), State::Pending)).unwrap());
        for round in 1..=5 {
            now(held.generate(number(round), State::Pending)).unwrap();
            std::thread::yield_now();
        }
        assert!(
            now(held.versions())
                .unwrap()
                .iter()
                .all(|version| version.number != number(9))
        );
        drop(held);
        other.join().unwrap();
    });
    assert_eq!(now(admin(directory.path()).versions()).unwrap().len(), 6);
}

#[test]
fn a_damaged_or_foreign_or_newer_keyring_is_never_overwritten() {
    let directory = tempfile::tempdir().unwrap();
    let admin = admin(directory.path());
    admin.create_file().unwrap();
    now(admin.generate(number(1), State::Pending)).unwrap();
    let path = admin.file().path();
    let good = std::fs::read_to_string(path).unwrap();
    let foreign = {
        let elsewhere = tempfile::tempdir().unwrap();
        let other = KeyringAdmin::new(&options(elsewhere.path()), "other".parse().unwrap());
        other.create_file().unwrap();
        std::fs::read_to_string(other.file().path()).unwrap()
    };
    let cases = [
        (good.replace("pending", "active"), "was changed by hand or damaged"),
        (good.chars().take(good.len() / 2).collect(), "restore it from a copy"),
        (String::new(), "restore it from a copy"),
        (foreign, "holds the root key `other`, and not `kube-root`"),
        (
            good.replace("keyring/v1", "keyring/v7"),
            "was written by a newer release (it has the format v7)",
        ),
    ];
    for (content, expected) in cases {
        crate::files::replace(path, content.as_bytes()).unwrap();
        let id = KeyId::random().unwrap();
        let errors = [
            now(admin.versions()).unwrap_err().chain(),
            now(admin.generate(number(2), State::Pending)).unwrap_err().chain(),
            now(admin.import(number(2), State::Pending, Key::random().unwrap()))
                .unwrap_err()
                .chain(),
            now(admin.relabel(&id, State::Pending)).unwrap_err().chain(),
            now(admin.destroy(&id)).unwrap_err().chain(),
        ];
        for error in errors {
            assert!(error.contains(expected), "{error}");
        }
        assert!(matches!(admin.create_file(), Err(KeyringError::Exists { .. })));
        assert_eq!(
            admin.file().create_for_trying_out(Timestamp::from_unix(0)).unwrap(),
            None
        );
        assert_eq!(std::fs::read_to_string(path).unwrap(), content);
    }
}

#[test]
fn a_keyring_that_others_may_read_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let admin = admin(directory.path());
    admin.create_file().unwrap();
    std::fs::set_permissions(admin.file().path(), std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = now(admin.versions()).unwrap_err();
    assert!(error.chain().contains("chmod 0600"), "{}", error.chain());
}

#[test]
fn a_missing_keyring_is_made_by_create_alone() {
    let directory = tempfile::tempdir().unwrap();
    let admin = admin(directory.path());
    let error = now(admin.generate(number(1), State::Pending)).unwrap_err();
    assert!(error.chain().contains("dekhand keys create"), "{}", error.chain());
    assert!(!admin.file().exists().unwrap());
}

#[test]
fn a_keyring_for_trying_out_has_one_version_that_encrypts_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let admin = admin(directory.path());
    let made = admin
        .file()
        .create_for_trying_out(Timestamp::from_unix(1000))
        .unwrap()
        .unwrap();
    assert_eq!(
        (made.number, made.state),
        (number(1), State::ActiveFrom(Timestamp::from_unix(1000)))
    );
    assert_eq!(now(admin.versions()).unwrap(), [made]);
    assert_eq!(
        admin.file().create_for_trying_out(Timestamp::from_unix(2000)).unwrap(),
        None
    );
}

#[test]
fn one_key_is_not_two_versions() {
    let directory = tempfile::tempdir().unwrap();
    let admin = admin(directory.path());
    admin.create_file().unwrap();
    let key = || Key::copied_from(&[7; 32]).unwrap();
    let first = now(admin.import(number(1), State::Pending, key())).unwrap();
    let error = now(admin.import(number(2), State::Pending, key())).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the keyring has this key already, as v1 (id {})", first.id)
    );
}

#[test]
fn root_leaves_nothing_that_the_daemons_user_could_not_read() {
    let directory = tempfile::tempdir().unwrap();
    let admin = admin(directory.path());
    if rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(directory.path(), Some(4321), None).unwrap();
        let error = admin.create_file().unwrap_err().to_string();
        assert!(error.contains("sudo -u '#4321'"), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    } else {
        admin.create_file().unwrap();
    }
}
