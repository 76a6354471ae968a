//! The keyring file: no input panics its reader, an accepted one has the digest that it should have, refusals quote no
//! key, and what is accepted serves.
//!
//! The digest is computed here from its specification (`backend::keyring::digest`), not with the crate's code. Each input
//! is read twice, as it is and with a fitting digest, or the fuzzer would never come past that.

use std::error::Error as _;
use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::sync::LazyLock;

use dekhand::backend::keyring::Keyring;
use dekhand::backend::keyring::KeyringOptions;
use dekhand::clock::Timestamp;
use dekhand::files::io_thread::FileThread;
use dekhand::root_key::RootKey as _;
use dekhand::root_key::version::State;
use dekhand::root_key::waiters::Waiters;
use dekhand::secret::Key;
use serde_json::Value;
use sha2::Digest as _;
use sha2::Sha256;
use tempfile::TempDir;
use tokio::runtime::Runtime;

const NAME: &str = "kube-root";

struct Bench {
    runtime: Runtime,
    file: PathBuf,
    _directory: TempDir,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    // In memory where there is such a place: every input is written.
    let directory = tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .expect("a directory");
    let file = directory.path().join("keyring.json");
    std::fs::write(&file, "").expect("a file");
    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).expect("its mode");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .expect("a runtime");
    Bench {
        runtime,
        file,
        _directory: directory,
    }
});

/// Checks one input. Says whether the crate takes it, as it is or with a fitting digest.
pub(crate) fn check(input: &[u8]) -> bool {
    let value: Option<Value> = serde_json::from_slice(input).ok();
    let fitting = value.as_ref().and_then(digest).map(hex::encode);
    let written = value.as_ref().and_then(|value| value.get("digest")?.as_str());
    let accepted = read(input, value.as_ref());
    if accepted {
        assert!(
            fitting
                .as_deref()
                .is_some_and(|fitting| written.is_some_and(|written| written.eq_ignore_ascii_case(fitting))),
            "accepted with a digest that does not fit"
        );
    } else if let (Some(fitting), Some(written), Ok(text)) = (fitting, written, std::str::from_utf8(input))
        && !written.is_empty()
    {
        let mended = text.replace(written, &fitting);
        return read(mended.as_bytes(), serde_json::from_str(&mended).ok().as_ref());
    }
    accepted
}

/// Whether the crate takes the file. What it takes must serve; what it refuses must not be quoted.
fn read(content: &[u8], value: Option<&Value>) -> bool {
    let Bench { runtime, file, .. } = &*BENCH;
    std::fs::write(file, content).expect("the file can be written");
    let options = KeyringOptions { file: file.clone() };
    let keyring = Keyring::new(&options, NAME.parse().expect("a name"), FileThread::in_place());
    let versions = match runtime.block_on(keyring.discover()) {
        Ok(versions) => versions,
        Err(error) => {
            let mut said = error.to_string();
            let mut cause = error.source();
            while let Some(error) = cause {
                write!(said, "\n{error}\n{error:?}").expect("strings grow");
                cause = error.source();
            }
            for key in keys(value).filter(|key| key.len() > 16) {
                assert!(!said.contains(key), "a refusal quotes a key");
            }
            return false;
        }
    };
    let data_key = Key::random().expect("randomness");
    for version in versions {
        let wrapped = runtime.block_on(keyring.wrap(&version.id, &data_key, &Waiters::of_daemon()));
        if matches!(version.state, State::RetiredSince(_)) {
            assert!(wrapped.is_err(), "a retired version wraps");
            continue;
        }
        let wrapped = wrapped.expect("an accepted version wraps");
        let unwrapped = runtime
            .block_on(keyring.unwrap(&version.id, &wrapped, &Waiters::of_daemon()))
            .expect("and unwraps");
        assert!(unwrapped.same_as(&data_key));
    }
    true
}

fn keys(value: Option<&Value>) -> impl Iterator<Item = &str> {
    let versions = value.and_then(|value| value.get("versions")?.as_array());
    versions
        .into_iter()
        .flatten()
        .filter_map(|version| version.get("key")?.as_str())
}

/// The digest that a keyring of this content should have; `None` when a field has no value that could be in one.
fn digest(value: &Value) -> Option<[u8; 32]> {
    let mut hash = Sha256::new();
    let mut add = |field: &[u8]| {
        hash.update(u32::try_from(field.len()).unwrap_or(u32::MAX).to_be_bytes());
        hash.update(field);
    };
    add(b"dekhand/keyring/v1");
    add(value.get("name")?.as_str()?.as_bytes());
    for version in value.get("versions")?.as_array()? {
        let text = |field: &str| version.get(field).and_then(Value::as_str);
        let number = u16::try_from(version.get("number")?.as_u64()?).ok()?;
        add(&number.to_be_bytes());
        add(&hex::decode(text("id")?).ok()?);
        add(text("state")?.as_bytes());
        match text("since") {
            Some(since) => add(&since.parse::<Timestamp>().ok()?.unix().to_be_bytes()),
            None => add(b""),
        }
        add(text("origin")?.as_bytes());
        add(&hex::decode(text("key")?).ok()?);
    }
    Some(hash.finalize().into())
}
