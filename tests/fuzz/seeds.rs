//! Inputs to begin with, for each fuzz target, from files that the repository has anyway.

use std::path::Path;

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
