//! Inputs to begin with, for each fuzz target, from files that the repository has anyway.

use std::path::Path;

use dekhand::backend::pkcs11::ipc::call::Call;
use dekhand::backend::pkcs11::ipc::frame::Frame;
use dekhand::backend::pkcs11::ipc::message::Answer;
use dekhand::backend::pkcs11::ipc::message::FromWorker;
use dekhand::backend::pkcs11::ipc::message::Level;
use dekhand::backend::pkcs11::ipc::message::Outcome;
use dekhand::backend::pkcs11::ipc::message::ToSpawner;
use dekhand::backend::pkcs11::ipc::message::ToWorker;
use dekhand::backend::pkcs11::notices::Noted;
use dekhand::clock::Timestamp;
use dekhand::root_key::Wrapped;
use dekhand::root_key::error::Error;
use dekhand::root_key::error::Kind;
use dekhand::root_key::id::KeyId;
use dekhand::root_key::mechanism::Mechanism;
use dekhand::root_key::version::State;
use dekhand::root_key::version::Version;
use dekhand::secret::Key;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use crate::random::Random;

fn tests() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests"))
}

/// The sealed payloads of the test vectors.
pub(crate) fn sealed_parse() -> Vec<Vec<u8>> {
    let mut files: Vec<_> = std::fs::read_dir(tests().join("vectors/v1"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
        .collect();
    files.sort();
    let sealed = files.iter().map(|file| {
        let vector: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        hex::decode(vector["sealed"].as_str().unwrap()).unwrap()
    });
    sealed.collect()
}

/// Every sealed sample as it is.
pub(crate) fn decrypt() -> Vec<Vec<u8>> {
    (0..12).map(|sample| vec![sample]).collect()
}

/// The example; without its comments, since shorter inputs are faster; and with the token that a comment describes.
pub(crate) fn config_parse() -> Vec<Vec<u8>> {
    let example = std::fs::read_to_string(tests().join("../config/dekhand.yaml")).unwrap();
    let (before, rest) = example.split_once("    keyring:").unwrap();
    let (_, after) = rest.split_once("    #pkcs11:").unwrap();
    let token = format!("    pkcs11:{after}").replace("\n    #", "\n    ");
    let texts = [
        without_comments(&example),
        without_comments(&format!("{before}{token}")),
        example,
    ];
    texts.map(String::into_bytes).to_vec()
}

fn without_comments(text: &str) -> String {
    let lines = text.lines().map(|line| match line.split_once(" #") {
        Some((setting, _)) => setting.trim_end(),
        None => line.trim_end(),
    });
    let settings = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    settings.collect::<Vec<_>>().join("\n")
}

/// Keyrings whose digest does not fit: the check computes the digest that fits.
pub(crate) fn keyring_parse() -> Vec<Vec<u8>> {
    let keyring = |versions: Vec<Value>| {
        let mut keyring = json!({"apiVersion": "dekhand/keyring/v1", "name": "kube-root"});
        keyring["versions"] = versions.into();
        keyring["digest"] = "00".repeat(32).into();
        keyring.to_string().into_bytes()
    };
    vec![
        keyring(vec![]),
        keyring(vec![version(1, "active")]),
        keyring(vec![version(1, "retired"), version(2, "active"), version(3, "pending")]),
    ]
}

fn version(number: u8, state: &str) -> Value {
    let byte = format!("{number:02x}");
    let mut version = json!({"number": number, "id": byte.repeat(16), "state": state});
    if state != "pending" {
        version["since"] = "2026-03-01T12:00:00Z".into();
    }
    version["origin"] = "generated".into();
    version["key"] = byte.repeat(32).into();
    version
}

/// Bytes from which the check makes connections: half of them are read whole, half in parts.
pub(crate) fn authority() -> Vec<Vec<u8>> {
    let mut random = Random::new(7);
    let seeds = (0..60).map(|number| {
        let length = 20 + random.below(380);
        let mut input = random.bytes(length);
        if number % 2 == 1 {
            input.splice(..0, [0; 4]);
        }
        input
    });
    seeds.collect()
}

/// Messages of each direction, and of each shape that a field can have.
pub(crate) fn token_worker() -> Vec<Vec<u8>> {
    fn bytes(message: &impl Serialize) -> Vec<u8> {
        Frame::of(message).unwrap().message().to_vec()
    }
    let id = || KeyId::try_from([7; 16].as_slice()).unwrap();
    let key = || Key::copied_from(&[3; 32]).unwrap();
    let number = 1.try_into().unwrap();
    let state = State::ActiveFrom(Timestamp::from_unix(1_772_366_400));
    let wrapped = || Wrapped {
        mechanism: Mechanism::AesKwp,
        bytes: vec![5; 40],
    };
    let calls = [
        Call::Open,
        Call::Find {
            expected: vec![id(), id()],
        },
        Call::Wrap {
            id: id(),
            data_key: key(),
        },
        Call::Unwrap {
            id: id(),
            wrapped: wrapped(),
        },
        Call::Probe { id: None },
        Call::Import {
            number,
            state,
            key: key(),
        },
    ];
    let versions = vec![
        Version {
            number,
            state,
            id: id(),
        },
        Version {
            number,
            state: State::Pending,
            id: id(),
        },
    ];
    let results = [
        Ok(Outcome::Done),
        Ok(Outcome::Listed(versions, Noted::default())),
        Ok(Outcome::Wrapped(wrapped())),
        Ok(Outcome::DataKey(key())),
        Err(Error::new(Kind::Outage, "the token is gone").into()),
    ];
    let answers = results.map(|result| {
        bytes(&FromWorker::Answer(Answer {
            number: 300,
            memory: 1 << 27,
            result,
        }))
    });
    let others = [
        FromWorker::Hello {
            build: "1.0+0".to_owned(),
            warnings: vec!["no right".to_owned()],
        },
        FromWorker::NotStarted("no memory".to_owned()),
        FromWorker::Event {
            level: Level::Warn,
            message: "a line".to_owned(),
        },
    ];
    let to_spawner = [
        ToSpawner::Start { worker: 300, index: 1 },
        ToSpawner::Kill { worker: 300 },
    ];
    let mut seeds: Vec<_> = calls
        .into_iter()
        .map(|call| bytes(&ToWorker { number: 300, call }))
        .collect();
    seeds.extend(answers);
    seeds.extend(others.iter().map(bytes));
    seeds.extend(to_spawner.iter().map(bytes));
    seeds
}
