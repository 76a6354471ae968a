//! A node whose root key is in a token of SoftHSM, behind the shim.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Output;
use std::sync::Arc;

use serde_json::Value;
use token_shim::token::PIN;
use token_shim::token::Token;

use crate::daemon::Daemon;
use crate::daemon::dekhand;

/// The settings of a node beside the module, the token and the PIN.
#[derive(Clone, Copy, Debug)]
pub struct Settings<'a> {
    /// `shared`.
    pub shared: bool,
    /// Lines of the section `pkcs11`.
    pub pkcs11: &'a [&'a str],
    /// Lines of the file.
    pub lines: &'a [&'a str],
}

impl Default for Settings<'_> {
    fn default() -> Self {
        Self {
            shared: true,
            pkcs11: &[],
            lines: &["probe: {interval: 1s}"],
        }
    }
}

/// A node: its own directory with configuration, PIN, state and socket, and a token that other nodes may use as well.
pub struct Node {
    pub token: Arc<Token>,
    node: crate::keyring_node::Node,
}

impl Node {
    /// A node with its own token, and a root key of one version in it.
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    /// The same with other settings.
    pub fn with(settings: Settings<'_>) -> Self {
        let node = Self::on(&Arc::new(Token::new()), settings);
        node.keys(&["create"]);
        node
    }

    /// A node on an existing token.
    pub fn on(token: &Arc<Token>, settings: Settings<'_>) -> Self {
        let node = crate::keyring_node::Node {
            directory: tempfile::tempdir().unwrap(),
        };
        let token = token.clone();
        let node = Self { token, node };
        node.set_pin(PIN);
        node.configure(settings);
        node
    }

    /// Writes the configuration.
    pub fn configure(&self, settings: Settings<'_>) {
        let mut text = format!(
            "apiVersion: dekhand/v1
state: {state}
listen: {{socket: {socket}}}
http: off
root_keys:
  - name: test
    shared: {shared}
    pkcs11:
      module: {module}
      token: kube
      pin: {{file: {pin}}}
      environment:
",
            state = self.path("state").display(),
            socket = self.socket().display(),
            shared = settings.shared,
            module = token_shim::path().display(),
            pin = self.path("pin").display(),
        );
        for (name, path) in self.token.environment() {
            writeln!(text, "        - {name}={}", path.display()).unwrap();
        }
        for line in settings.pkcs11 {
            writeln!(text, "      {line}").unwrap();
        }
        for line in settings.lines {
            writeln!(text, "{line}").unwrap();
        }
        std::fs::write(self.path("config.new"), text).unwrap();
        std::fs::rename(self.path("config.new"), self.path("config.yaml")).unwrap();
    }

    /// Writes the file with the PIN.
    pub fn set_pin(&self, pin: &str) {
        let beside = self.path("pin.new");
        std::fs::write(&beside, pin).unwrap();
        std::fs::set_permissions(&beside, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::rename(&beside, self.path("pin")).unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.node.path(name)
    }

    pub fn config(&self) -> String {
        self.node.config()
    }

    pub fn socket(&self) -> PathBuf {
        self.node.socket()
    }

    /// `dekhand keys ...` on this node, which must succeed.
    pub fn keys(&self, arguments: &[&str]) -> Value {
        self.node.keys(arguments)
    }

    /// Any command on this node's configuration.
    pub fn command(&self, arguments: &[&str]) -> Output {
        dekhand(&[arguments, &["--config", &self.config()]].concat())
    }

    /// `dekhand config check` of its configuration.
    pub fn check(&self) -> Output {
        dekhand(&["config", "check", &self.config()])
    }

    /// Starts the daemon and waits until `dekhand status` succeeds.
    pub fn start(&self) -> Daemon {
        self.node.start()
    }

    /// Starts the daemon without waiting for it.
    pub fn spawn(&self) -> Daemon {
        self.node.spawn()
    }

    pub fn status(&self) -> Output {
        self.node.status()
    }
}
