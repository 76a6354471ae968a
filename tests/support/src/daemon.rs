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

/// The limit of every wait, far longer than any step takes: only a hang reaches it.
pub const HANG: Duration = Duration::from_secs(60);

/// The program that cargo has built along with the running test.
pub fn program() -> PathBuf {
    let test = std::env::current_exe().unwrap();
    // Tests run from `deps`, beside which the program lies.
    let built = test.ancestors().nth(2).unwrap().join("dekhand");
    assert!(built.exists(), "no program {}", built.display());
    built
}

/// Copies a program by another process. If this one had it open for writing, a process that another thread starts at that
/// moment would have it open too, and the copy could not be executed ("text file busy").
pub fn copy_program(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "{}", to.display());
}

/// Runs a command to its end.
pub fn dekhand(arguments: &[&str]) -> Output {
    Command::new(program())
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Runs a command that must succeed, and reads its JSON.
pub fn json(arguments: &[&str]) -> Value {
    let output = dekhand(&[arguments, &["--output", "json"]].concat());
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Waits until a condition holds.
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < HANG, "never: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    pub child: Child,
    log: Arc<Mutex<String>>,
    reader: Option<std::thread::JoinHandle<()>>,
}

impl Daemon {
    pub fn spawn(arguments: &[&str]) -> Self {
        Self::spawn_program(&program(), arguments)
    }

    /// Starts a program that is a daemon.
    pub fn spawn_program(program: &Path, arguments: &[&str]) -> Self {
        let mut command = Command::new(program);
        command.args(arguments);
        Self::of(command)
    }

    /// Starts a process that becomes a daemon.
    pub fn of(mut command: Command) -> Self {
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
    pub fn spawn_unread(arguments: &[&str]) -> (Self, std::io::PipeReader) {
        let (unread, writer) = std::io::pipe().unwrap();
        let mut command = Command::new(program());
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
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The address of health and metrics of a daemon with `--http` and `--log-format json`, once they are served.
    pub fn http_address(&self) -> SocketAddr {
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

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end. Returns the exit code, unless it was killed, and its log.
    pub fn wait(mut self) -> (Option<i32>, String) {
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
    pub fn stop(self) -> (Option<i32>, String) {
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
pub struct Caller(pub KeyManagementServiceClient<Channel>);

impl Caller {
    pub async fn connect(socket: &Path) -> Self {
        let stream = tokio::net::UnixStream::connect(socket).await.unwrap();
        Self(Channel::over(stream).await.unwrap().kms_v2())
    }

    pub async fn status(&mut self) -> Result<StatusResponse, tonic::Status> {
        self.0.status(StatusRequest {}).await.map(tonic::Response::into_inner)
    }

    pub async fn encrypt(&mut self, plaintext: &[u8]) -> Result<EncryptResponse, tonic::Status> {
        let request = EncryptRequest {
            plaintext: plaintext.to_vec(),
            uid: "test".into(),
        };
        self.0.encrypt(request).await.map(tonic::Response::into_inner)
    }

    pub async fn decrypt(&mut self, sealed: &EncryptResponse) -> Result<Vec<u8>, tonic::Status> {
        self.0
            .decrypt(request_for(sealed))
            .await
            .map(|response| response.get_ref().plaintext.clone())
    }
}

/// The request of kube-apiserver to decrypt a sealed payload.
pub fn request_for(sealed: &EncryptResponse) -> DecryptRequest {
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
pub fn page(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(HANG)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\n\r\n").unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).unwrap();
    text
}
