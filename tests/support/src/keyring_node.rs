//! A node whose root key is in a keyring.

use std::path::PathBuf;
use std::process::Output;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::Daemon;
use crate::daemon::HANG;
use crate::daemon::dekhand;
use crate::daemon::json;

/// A node: its own directory with configuration, keyring, state and socket.
pub struct Node {
    pub directory: TempDir,
}

impl Node {
    /// With a keyring of one version.
    pub fn new() -> Self {
        Self::with("", true)
    }

    /// With more lines in the configuration.
    pub fn with(lines: &str, shared: bool) -> Self {
        let node = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        node.configure(lines, shared);
        node.keys(&["create"]);
        node
    }

    /// Writes the configuration.
    pub fn configure(&self, lines: &str, shared: bool) {
        let directory = self.directory.path().display();
        let text = format!(
            "apiVersion: dekhand/v1
state: {directory}/state
listen: {{socket: {directory}/kms.sock}}
http: off
root_keys:
  - name: test
    shared: {shared}
    keyring: {{file: {directory}/keyring.json}}
{lines}"
        );
        let beside = self.path("config.new");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(&beside, self.path("config.yaml")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn config(&self) -> String {
        self.path("config.yaml").display().to_string()
    }

    pub fn socket(&self) -> PathBuf {
        self.path("kms.sock")
    }

    /// `dekhand keys ...` on this node, which must succeed.
    pub fn keys(&self, arguments: &[&str]) -> Value {
        json(&[&["keys"], arguments, &["--config", &self.config()]].concat())
    }

    /// Starts the daemon and waits until `dekhand status` succeeds.
    pub fn start(&self) -> Daemon {
        let daemon = self.spawn();
        let begin = Instant::now();
        while !self.status().status.success() {
            assert!(begin.elapsed() < HANG, "the daemon never serves: {}", daemon.log());
            std::thread::sleep(Duration::from_millis(20));
        }
        daemon
    }

    pub fn spawn(&self) -> Daemon {
        Daemon::spawn(&["serve", "--config", &self.config(), "--log-format", "json"])
    }

    pub fn status(&self) -> Output {
        dekhand(&["status", "--socket", self.socket().to_str().unwrap()])
    }
}
