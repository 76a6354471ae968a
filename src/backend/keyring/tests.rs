//! Promises of the keyring to the daemon.

use super::*;
use crate::backend::keyring::admin::KeyringAdmin;
use crate::clock::Timestamp;
use crate::root_key::Admin as _;
use crate::root_key::version::Number;
use crate::root_key::version::State;
use crate::root_key::waiters::Waiters;

struct Place {
    directory: tempfile::TempDir,
    keyring: Keyring,
    admin: KeyringAdmin,
}

impl Place {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let options = KeyringOptions {
            file: directory.path().join("keyring.json"),
        };
        let name: RootKeyName = "kube-root".parse().unwrap();
        let admin = KeyringAdmin::new(&options, name.clone());
        admin.create_file().unwrap();
        let keyring = Keyring::new(&options, name, FileThread::start().unwrap());
        Self {
            directory,
            keyring,
            admin,
        }
    }

    async fn version(&self, number: u16) -> Version {
        let number = Number::try_from(number).unwrap();
        self.admin.generate(number, State::Pending).await.unwrap()
    }
}

#[tokio::test]
async fn a_data_key_wraps_with_mechanism_1_and_unwraps() {
    let place = Place::new();
    let version = place.version(1).await;
    assert_eq!(place.keyring.discover().await.unwrap(), std::slice::from_ref(&version));
    let data_key = Key::random().unwrap();
    let wrapped = place
        .keyring
        .wrap(&version.id, &data_key, &Waiters::of_daemon())
        .await
        .unwrap();
    assert_eq!(wrapped.mechanism, Mechanism::AesGcm);
    assert!(wrapped.mechanism.fits(wrapped.bytes.len()));
    assert!(
        place
            .keyring
            .unwrap(&version.id, &wrapped, &Waiters::of_daemon())
            .await
            .unwrap()
            .same_as(&data_key)
    );
    let again = place
        .keyring
        .wrap(&version.id, &data_key, &Waiters::of_daemon())
        .await
        .unwrap();
    assert_ne!(wrapped, again, "each wrap has an IV of its own");
}

#[tokio::test]
async fn every_changed_wrapped_key_is_proven_bad() {
    let place = Place::new();
    let (one, two) = (place.version(1).await, place.version(2).await);
    place.keyring.discover().await.unwrap();
    let wrapped = place
        .keyring
        .wrap(&one.id, &Key::random().unwrap(), &Waiters::of_daemon())
        .await
        .unwrap();
    let mut wrong = Vec::new();
    for place in 0..wrapped.bytes.len() {
        let mut flipped = wrapped.clone();
        flipped.bytes[place] ^= 1;
        wrong.push(flipped);
        let mut short = wrapped.clone();
        short.bytes.truncate(place);
        wrong.push(short);
    }
    wrong.push(Wrapped {
        mechanism: Mechanism::AesGcmTokenIv,
        ..wrapped.clone()
    });
    wrong.push(Wrapped {
        mechanism: Mechanism::AesGcm,
        bytes: [wrapped.bytes.as_slice(), &[0]].concat(),
    });
    for wrong in wrong {
        let error = place
            .keyring
            .unwrap(&one.id, &wrong, &Waiters::of_daemon())
            .await
            .unwrap_err();
        assert_eq!(error.kind(), Kind::BadInput);
    }
    let error = place
        .keyring
        .unwrap(&two.id, &wrapped, &Waiters::of_daemon())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::BadInput);
}

#[tokio::test]
async fn nothing_is_served_before_the_first_read() {
    let place = Place::new();
    let version = place.version(1).await;
    let error = place
        .keyring
        .wrap(&version.id, &Key::random().unwrap(), &Waiters::of_daemon())
        .await
        .unwrap_err();
    assert_eq!(error.kind(), Kind::Outage);
}

#[tokio::test]
async fn a_new_version_is_seen_and_a_destroyed_one_is_gone_with_the_next_read() {
    let place = Place::new();
    let one = place.version(1).await;
    place.keyring.discover().await.unwrap();
    let wrapped = place
        .keyring
        .wrap(&one.id, &Key::random().unwrap(), &Waiters::of_daemon())
        .await
        .unwrap();
    let two = place.version(2).await;
    place.admin.destroy(&one.id).await.unwrap();
    place
        .keyring
        .unwrap(&one.id, &wrapped, &Waiters::of_daemon())
        .await
        .unwrap();
    assert_eq!(place.keyring.discover().await.unwrap(), std::slice::from_ref(&two));
    let missing = place
        .keyring
        .unwrap(&one.id, &wrapped, &Waiters::of_daemon())
        .await
        .unwrap_err();
    assert_eq!(
        (missing.kind(), missing.to_string()),
        (Kind::Refusal, Error::missing(&one.id).to_string())
    );
    place
        .keyring
        .wrap(&two.id, &Key::random().unwrap(), &Waiters::of_daemon())
        .await
        .unwrap();
}

#[tokio::test]
async fn a_retired_version_neither_wraps_nor_unwraps() {
    let place = Place::new();
    let one = place.version(1).await;
    place.keyring.discover().await.unwrap();
    let wrapped = place
        .keyring
        .wrap(&one.id, &Key::random().unwrap(), &Waiters::of_daemon())
        .await
        .unwrap();
    let retired = State::RetiredSince(Timestamp::from_unix(1000));
    place.admin.relabel(&one.id, retired).await.unwrap();
    place.keyring.discover().await.unwrap();
    let wrap = place
        .keyring
        .wrap(&one.id, &Key::random().unwrap(), &Waiters::of_daemon())
        .await
        .unwrap_err();
    let unwrap = place
        .keyring
        .unwrap(&one.id, &wrapped, &Waiters::of_daemon())
        .await
        .unwrap_err();
    assert_eq!((wrap.kind(), unwrap.kind()), (Kind::Refusal, Kind::Refusal));
    assert!(unwrap.to_string().contains("dekhand keys restore v1"));
}

#[tokio::test]
async fn with_a_file_that_broke_reads_go_on_and_nothing_new_is_wrapped() {
    let place = Place::new();
    let one = place.version(1).await;
    place.keyring.discover().await.unwrap();
    let wrapped = place
        .keyring
        .wrap(&one.id, &Key::random().unwrap(), &Waiters::of_daemon())
        .await
        .unwrap();
    let path = place.directory.path().join("keyring.json");
    let good = std::fs::read(&path).unwrap();
    let broken = [None, Some(&b"{"[..]), Some(&b""[..])];
    for content in broken {
        match content {
            None => std::fs::remove_file(&path).unwrap(),
            Some(content) => crate::files::replace(&path, content).unwrap(),
        }
        let error = place.keyring.discover().await.unwrap_err();
        assert_eq!(error.kind(), Kind::Outage);
        assert!(error.chain().contains("keyring.json"), "{}", error.chain());
        place
            .keyring
            .unwrap(&one.id, &wrapped, &Waiters::of_daemon())
            .await
            .unwrap();
        let refused = place
            .keyring
            .wrap(&one.id, &Key::random().unwrap(), &Waiters::of_daemon())
            .await
            .unwrap_err();
        assert_eq!(refused.kind(), Kind::Outage);
    }
    crate::files::replace(&path, &good).unwrap();
    place.keyring.discover().await.unwrap();
    place
        .keyring
        .wrap(&one.id, &Key::random().unwrap(), &Waiters::of_daemon())
        .await
        .unwrap();
}

#[tokio::test]
async fn the_daemon_never_makes_a_keyring() {
    let place = Place::new();
    let path = place.directory.path().join("keyring.json");
    std::fs::remove_file(&path).unwrap();
    assert_eq!(place.keyring.discover().await.unwrap_err().kind(), Kind::Outage);
    assert!(!path.exists());
}

#[tokio::test]
async fn no_key_is_printed() {
    let place = Place::new();
    place
        .admin
        .import(Number::FIRST, State::Pending, Key::copied_from(&[0xab; 32]).unwrap())
        .await
        .unwrap();
    place.keyring.discover().await.unwrap();
    let printed = format!("{:?}", place.keyring);
    assert!(
        printed.contains("[redacted]") && !printed.contains("abab") && !printed.contains("171, 171"),
        "{printed}"
    );
}
