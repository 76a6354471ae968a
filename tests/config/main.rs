//! Configuration files: valid ones and their options, and the refusal of wrong ones.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test may panic"
)]

mod command;
mod effective;
mod good_copy;
mod hostile;
mod pages;
mod pkcs11;
mod pkcs11_values;
mod refusals;
mod reload;
mod schema;

use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use dekhand::config::Config;
use dekhand::config::ConfigError;
use dekhand::config::ConfigOrigin;
use dekhand::config::Overrides;
use dekhand::config::keep_good_copy;
use dekhand::config::load_or_good_copy;

const EXAMPLE: &str = include_str!("../../config/dekhand.yaml");
const PAGE: &str = include_str!("../../config/README.md");
const MINIMAL: &str = "apiVersion: dekhand/v1\nroot_keys:\n  - name: kube-root\n    keyring: {file: /k/keyring.json}\n";
/// Every setting, with a value that is not its default.
const OTHER: &str = r#"
apiVersion: dekhand/v1
name: two
state: /s
listen: {socket: /r/k.sock, mode: "0660", peers: [0, 2001], status_version: v2beta1, v1beta1: off}
http: {address: "[::1]:1"}
root_keys:
  - {name: new, shared: true, keyring: {file: /k/new.json}}
  - {name: old, keyring: {file: /k/old.json}}
data_keys: {suite: a256cbc-hs512, max_uses: 4294967296, max_age: 1m, reuse: never, cache: {ttl: 0, capacity: 1}}
outage: {tolerate: 30d}
probe: {interval: 1s}
log: {level: debug, format: text, requests: true}
hardening: {lock_memory: off, seccomp: false}
worker: {memory: 64MiB}
"#;
/// Every setting of a root key in a token, with a value that is not its default.
const TOKENS: &str = r#"
apiVersion: dekhand/v1
root_keys:
  - name: new
    pkcs11:
      module: /m/one.so
      token: "pkcs11:token=my%20kube;serial=0a"
      pin: {file: /p/pin}
      admin: {pin: {credential: admin-pin}}
      login: vendor:0x80000001
      sessions: 4
      call_timeout: 25s
      open_timeout: 10m
      mechanism: aes-cbc
      environment: [CONF=/c, "LIST=a=b \"c\"", EMPTY=, {name: API_KEY, file: /c/key}, {name: API_PASSWORD, credential: api}]
      versions:
        - {number: 1, id: 00112233445566778899AABBCCDDEEFF, activates: 2026-03-01T12:00:00Z, retired: 2027-03-01T12:00:00Z}
        - {number: 2, label: my key, activates: 2027-02-01T00:00:00Z}
        - {number: 3, id: "0000000000000003"}
      private: false
      exportable: true
  - {name: old, shared: true, pkcs11: {module: /m/two.so, token: "123", pin: {descriptor: 3}}}
  - {name: older, pkcs11: {module: /m/two.so, token: "123", login: none, mechanism: rsa-oaep-sha1}}
  - {name: oldest, pkcs11: {module: /m/two.so, token: "123", login: protected-path}}
  - {name: file, keyring: {file: /k/keyring.json}}
"#;

fn parse(text: impl AsRef<[u8]>) -> Result<Config, ConfigError> {
    Config::parse(Path::new("f.yaml"), text.as_ref(), &Overrides::default())
}

/// A minimal file with these additional lines.
fn with(lines: &str) -> Result<Config, ConfigError> {
    parse(format!("{MINIMAL}{lines}\n"))
}

fn refused(text: impl AsRef<[u8]>) -> ConfigError {
    let start = Instant::now();
    let error = parse(text).unwrap_err();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "hostile texts take no long time"
    );
    error
}

/// Asserts that a minimal file with these additional lines is refused, with this key, place (from the fifth line on),
/// part of the problem and part of the hint.
fn assert_refused(lines: &str, key: &str, place: (u32, u32), problem: &str, hint: &str) {
    let error = with(lines).expect_err(lines);
    assert_eq!(error.key.as_deref(), Some(key), "{lines}: {error}");
    let found = error.place.map(|place| (place.line, place.column));
    assert_eq!(found, Some(place), "{lines}: {error}");
    assert!(error.problem.contains(problem), "{lines}: {error}");
    let found = error.hint.as_deref().unwrap_or_default();
    assert!(
        found.contains(hint) && found.is_empty() == hint.is_empty(),
        "{lines}: {found}"
    );
}

/// A state directory and a configuration file that names it.
struct Home {
    directory: tempfile::TempDir,
    file: PathBuf,
    text: String,
}

impl Home {
    fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("config.yaml");
        let text = format!("{MINIMAL}state: {}\n", directory.path().display());
        Self { directory, file, text }
    }

    fn write(&self, text: &str, mode: u32) {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::write(&self.file, text).unwrap();
        std::fs::set_permissions(&self.file, std::fs::Permissions::from_mode(mode)).unwrap();
    }

    fn keep(&self) {
        keep_good_copy(self.directory.path(), &self.file, self.text.as_bytes()).unwrap();
    }

    fn load(&self) -> Result<(Config, ConfigOrigin), ConfigError> {
        load_or_good_copy(&self.file, &Overrides::default())
    }
}
