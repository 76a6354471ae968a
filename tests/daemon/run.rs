//! Starts the program and calls it.

use std::io::BufRead as _;
use std::io::BufReader;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Output;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use dekhand::proto::v2::DecryptRequest;
use dekhand::proto::v2::EncryptRequest;
use dekhand::proto::v2::EncryptResponse;
use dekhand::proto::v2::StatusRequest;
use dekhand::proto::v2::StatusResponse;
use dekhand::proto::v2::key_management_service_client::KeyManagementServiceClient;
use dekhand::rpc::client::Channel;
use serde_json::Value;
use tempfile::TempDir;

/// The limit of every wait, far longer than any step takes: only a hang reaches it.
pub(crate) const HANG: Duration = Duration::from_secs(60);

/// Runs a command to its end.
pub(crate) fn dekhand(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_dekhand"))
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs a command that must succeed, and reads its JSON.
pub(crate) fn json(arguments: &[&str]) -> Value {
    let output = dekhand(&[arguments, &["--output", "json"]].concat());
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until a condition holds.
pub(crate) fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < HANG, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A node: its own directory with configuration, keyring, state and socket.
pub(crate) struct Node {
    pub(crate) directory: TempDir,
}

impl Node {
    /// With a keyring of one version.
    pub(crate) fn new() -> Self {
        Self::with("", true)
    }

    /// With more lines in the configuration.
    pub(crate) fn with(lines: &str, shared: bool) -> Self {
        let node = Self {
            directory: tempfile::tempdir().unwrap(),
        };
        node.configure(lines, shared);
        node.keys(&["create"]);
        node
    }

    /// Writes the configuration.
    pub(crate) fn configure(&self, lines: &str, shared: bool) {
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

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub(crate) fn config(&self) -> String {
        self.path("config.yaml").display().to_string()
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.path("kms.sock")
    }

    /// `dekhand keys ...` on this node, which must succeed.
    pub(crate) fn keys(&self, arguments: &[&str]) -> Value {
        json(&[&["keys"], arguments, &["--config", &self.config()]].concat())
    }

    /// Starts the daemon and waits until `dekhand status` succeeds.
    pub(crate) fn start(&self) -> Daemon {
        let daemon = self.spawn();
        wait_for("the daemon serves", || self.status().status.success());
        daemon
    }

    pub(crate) fn spawn(&self) -> Daemon {
        Daemon::spawn(&["serve", "--config", &self.config(), "--log-format", "json"])
    }

    pub(crate) fn status(&self) -> Output {
        dekhand(&["status", "--socket", self.socket().to_str().unwrap()])
    }
}

/// A running daemon; killed when dropped.
pub(crate) struct Daemon {
    pub(crate) child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Daemon {
    pub(crate) fn spawn(arguments: &[&str]) -> Self {
        Self::spawn_program(Path::new(env!("CARGO_BIN_EXE_dekhand")), arguments)
    }

    /// Starts a program that is a daemon.
    pub(crate) fn spawn_program(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::of(command)
    }

    /// Starts a process that becomes a daemon.
    pub(crate) fn of(mut command: Command) -> Self {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let log = Arc::new(Mutex::new(String::new()));
        let reader = std::thread::spawn({
            let log = log.clone();
            move || {
                for line in stderr.lines() {
                    let mut log = log.lock().unwrap();
                    log.push_str(&line.unwrap());
                    log.push('\n');
                }
            }
        });
        Self {
            child,
            log,
            reader: Some(reader),
        }
    }

    /// Starts it with stdout and stderr on one pipe that is not read, as under a supervisor whose log is stuck.
    pub(crate) fn spawn_unread(arguments: &[&str]) -> (Self, std::io::PipeReader) {
        let (unread, writer) = std::io::pipe().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_dekhand"));
        command
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(writer.try_clone().unwrap())
            .stderr(writer);
        let child = command.spawn().unwrap();
        let daemon = Self {
            child,
            log: Arc::default(),
            reader: None,
        };
        (daemon, unread)
    }

    /// Its output so far.
    pub(crate) fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The address of health and metrics of a daemon with `--http` and `--log-format json`, once they are served.
    pub(crate) fn http_address(&self) -> SocketAddr {
        let mut address = None;
        wait_for("health and metrics are served", || {
            let log = self.log();
            let line = log.lines().find(|line| line.contains("health and metrics are served"));
            let line = line.map(|line| serde_json::from_str::<Value>(line).unwrap());
            address = line.map(|line| line["address"].as_str().unwrap().parse().unwrap());
            address.is_some()
        });
        address.unwrap()
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end. Returns the exit code, unless it was killed, and its log.
    pub(crate) fn wait(mut self) -> (Option<i32>, String) {
        let start = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                if let Some(reader) = self.reader.take() {
                    reader.join().unwrap();
                }
                return (status.code(), self.log());
            }
            assert!(start.elapsed() < HANG, "the daemon does not end");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it as a supervisor does.
    pub(crate) fn stop(self) -> (Option<i32>, String) {
        self.signal(rustix::process::Signal::TERM);
        self.wait()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Calls a daemon as kube-apiserver does.
pub(crate) struct Caller(pub(crate) KeyManagementServiceClient<Channel>);

impl Caller {
    pub(crate) async fn connect(socket: &Path) -> Self {
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        Self(Channel::over(stream).await.unwrap().kms_v2())
    }

    pub(crate) async fn status(&mut self) -> Result<StatusResponse, tonic::Status> {
        self.0.status(StatusRequest {}).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn encrypt(&mut self, plaintext: &[u8]) -> Result<EncryptResponse, tonic::Status> {
        let request = EncryptRequest {
            plaintext: plaintext.to_vec(),
            uid: "test".into(),
        };
        self.0.encrypt(request).await.map(tonic::Response::into_inner)
    }

    pub(crate) async fn decrypt(&mut self, sealed: &EncryptResponse) -> Result<Vec<u8>, tonic::Status> {
        self.0
            .decrypt(request_for(sealed))
            .await
            .map(|response| response.get_ref().plaintext.clone())
    }
}

/// The request of kube-apiserver to decrypt a sealed payload.
pub(crate) fn request_for(sealed: &EncryptResponse) -> DecryptRequest {
    let EncryptResponse {
        ciphertext,
        key_id,
        annotations,
    } = sealed.clone();
    DecryptRequest {
        ciphertext,
        uid: "test".into(),
        key_id,
        annotations,
    }
}

/// A page of the operators' HTTP: status line, headers and text.
pub(crate) fn page(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
