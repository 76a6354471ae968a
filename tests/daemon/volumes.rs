//! Files in volumes as the kubelet makes them for Secrets and config maps: read-only mounts, links over `..data`, and files
//! that the pod's `fsGroup` may read.

use std::ffi::OsStr;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::fs::chown;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use token_shim::token::PIN;

use support::daemon::Daemon;
use support::daemon::copy_program;
use support::daemon::dekhand;
use support::daemon::program;
use support::daemon::wait_for;
use support::keyring_node::Node;
use support::token_node;
use support::token_node::Settings;

/// The user of a container that does not run as root, and the group of its volumes.
const USER: u32 = 4321;
const FS_GROUP: u32 = 4322;

/// A volume as the kubelet makes it.
struct Volume {
    path: PathBuf,
    file: &'static str,
    mode: u32,
    version: u32,
}

impl Volume {
    fn new(path: PathBuf, file: &'static str, mode: u32, content: &[u8]) -> Self {
        std::fs::create_dir(&path).unwrap();
        chown(&path, None, Some(FS_GROUP)).unwrap();
        std::fs::set_permissions(&path, Permissions::from_mode(0o3777)).unwrap();
        let mut volume = Self {
            path,
            file,
            mode,
            version: 0,
        };
        volume.update(content);
        symlink(format!("..data/{file}"), volume.path.join(file)).unwrap();
        volume
    }

    /// Makes a new directory and replaces the link to it.
    fn update(&mut self, content: &[u8]) {
        self.version += 1;
        let directory = format!("..2026_{}", self.version);
        std::fs::create_dir(self.path.join(&directory)).unwrap();
        let file = self.path.join(&directory).join(self.file);
        std::fs::write(&file, content).unwrap();
        chown(&file, None, Some(FS_GROUP)).unwrap();
        std::fs::set_permissions(&file, Permissions::from_mode(self.mode)).unwrap();
        symlink(&directory, self.path.join("..data_tmp")).unwrap();
        std::fs::rename(self.path.join("..data_tmp"), self.path.join("..data")).unwrap();
    }

    fn name(&self) -> String {
        self.path.join(self.file).display().to_string()
    }
}

/// A command in a mount namespace of its own, in which the volumes are read-only.
fn with_mounts(volumes: &[&Volume], program: &[&OsStr]) -> Command {
    let mut command = Command::new("unshare");
    let script = "while [ \"$1\" != -- ]; do mount --bind \"$1\" \"$1\"; mount -o remount,bind,ro \"$1\"; shift; done
        shift; exec \"$@\"";
    command.args(["--mount", "sh", "-euc", script, "sh"]);
    command.args(volumes.iter().map(|volume| &volume.path));
    command.arg("--").args(program);
    command
}

fn replace_in(path: &Path, from: &str, to: &str) -> String {
    let text = std::fs::read_to_string(path).unwrap();
    assert!(text.contains(from), "{text}");
    text.replace(from, to)
}

#[test]
fn a_daemon_without_root_reads_keyring_and_configuration_from_volumes_and_sees_updates() {
    let node = Node::new();
    let place = node.directory.path();
    std::fs::set_permissions(place, Permissions::from_mode(0o755)).unwrap();
    let copy = place.join("dekhand");
    copy_program(&program(), &copy);
    let keyring = node.path("keyring.json");
    let secret = Volume::new(
        place.join("secret"),
        "keyring.json",
        0o440,
        &std::fs::read(&keyring).unwrap(),
    );
    let run = place.join("run");
    std::fs::create_dir(&run).unwrap();
    chown(&run, Some(USER), Some(USER)).unwrap();
    let state = run.join("state");
    let text = replace_in(
        Path::new(&node.config()),
        &keyring.display().to_string(),
        &secret.name(),
    );
    let text = text.replace(&place.join("state").display().to_string(), &state.display().to_string());
    let socket = run.join("kms.sock");
    let text = text.replace(&node.socket().display().to_string(), &socket.display().to_string());
    let mut map = Volume::new(place.join("map"), "config.yaml", 0o644, text.as_bytes());

    let setpriv = ["setpriv", "--reuid=4321", "--regid=4321", "--groups=4322"];
    let config = map.name();
    let serve = [copy.to_str().unwrap(), "serve", "--config", &config];
    let line: Vec<_> = setpriv.iter().chain(&serve).map(OsStr::new).collect();
    let daemon = Daemon::of(with_mounts(&[&secret, &map], &line));
    let socket = socket.display().to_string();
    wait_for("status is content", || {
        dekhand(&["status", "--socket", &socket]).status.success()
    });
    map.update(format!("{text}\nprobe: {{interval: 5s}}\n").as_bytes());
    wait_for("the change is seen", || daemon.log().contains("probe.interval"));
}

#[test]
fn containers_of_one_pod_share_the_socket_in_an_empty_dir() {
    let place = tempfile::tempdir().unwrap();
    let place = place.path();
    std::fs::set_permissions(place, Permissions::from_mode(0o755)).unwrap();
    let copy = place.join("dekhand");
    copy_program(&program(), &copy);
    let empty_dir = place.join("run");
    std::fs::create_dir(&empty_dir).unwrap();
    chown(&empty_dir, None, Some(FS_GROUP)).unwrap();
    // Without the setgid bit, so that the socket's group is not the directory's by itself.
    std::fs::set_permissions(&empty_dir, Permissions::from_mode(0o777)).unwrap();
    let own = place.join("own");
    std::fs::create_dir(&own).unwrap();
    chown(&own, Some(USER), Some(USER)).unwrap();
    let socket = empty_dir.join("kms.sock").display().to_string();
    let config = place.join("config.yaml");
    let write = |shared: bool| {
        let own = own.display();
        let text = format!(
            "apiVersion: dekhand/v1
state: {own}/state
listen:
  socket: {socket}
  mode: \"0660\"
  group: {FS_GROUP}
  shared_directory: {shared}
  peers: [1000]
http: off
root_keys: [{{name: test, keyring: {{file: {own}/keyring.json}}}}]
"
        );
        std::fs::write(&config, text).unwrap();
        std::fs::set_permissions(&config, Permissions::from_mode(0o644)).unwrap();
    };
    let as_user = |uid: u32, arguments: &[&str]| {
        let mut command = Command::new("setpriv");
        command
            .args([format!("--reuid={uid}"), format!("--regid={uid}")])
            .arg(format!("--groups={FS_GROUP}"))
            .arg(&copy)
            .args(arguments);
        command
    };
    let config = config.display().to_string();
    write(false);
    let created = as_user(USER, &["keys", "create", "--config", &config])
        .output()
        .unwrap();
    assert!(created.status.success(), "{created:?}");
    let refused = as_user(USER, &["serve", "--config", &config]).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("`listen.shared_directory: true`"), "{said}");
    write(true);
    let daemon = Daemon::of(as_user(USER, &["serve", "--config", &config]));
    let status = |uid| as_user(uid, &["status", "--socket", &socket]).output().unwrap();
    wait_for("the API server's user can call", || status(1000).status.success());
    assert!(
        !status(1001).status.success(),
        "it can connect, and is not in listen.peers"
    );
    assert!(daemon.log().contains("can replace the socket"), "{}", daemon.log());
}

#[test]
fn a_pin_from_a_secret_volume_is_used_and_a_corrected_one_is_picked_up() {
    let node = token_node::Node::with(Settings::default());
    let mut secret = Volume::new(node.path("secret"), "pin", 0o440, b"0000");
    let text = replace_in(
        Path::new(&node.config()),
        &format!("file: {}", node.path("pin").display()),
        &format!("file: {}", secret.name()),
    );
    std::fs::write(node.config(), text).unwrap();
    chown(secret.path.join("..data").join("pin"), None, Some(0)).unwrap();
    let line = [
        program().into_os_string(),
        "serve".into(),
        "--config".into(),
        node.config().into(),
    ];
    let line: Vec<_> = line.iter().map(AsRef::as_ref).collect();
    let daemon = Daemon::of(with_mounts(&[&secret], &line));
    wait_for("the wrong PIN is rejected", || {
        daemon.log().contains("until the PIN is corrected")
    });
    secret.mode = 0o400;
    secret.update(PIN.as_bytes());
    wait_for("status is content", || node.status().status.success());
}

#[test]
fn a_secret_volume_that_everybody_can_read_is_refused_with_what_to_write() {
    let node = token_node::Node::with(Settings::default());
    let secret = Volume::new(node.path("secret"), "pin", 0o644, PIN.as_bytes());
    let text = replace_in(
        Path::new(&node.config()),
        &format!("file: {}", node.path("pin").display()),
        &format!("file: {}", secret.name()),
    );
    std::fs::write(node.config(), text).unwrap();
    let program = program();
    let config = node.config();
    let line = [
        program.as_os_str(),
        "token".as_ref(),
        "probe".as_ref(),
        "--config".as_ref(),
        config.as_ref(),
    ];
    let mounted = with_mounts(&[&secret], &line).output().unwrap();
    let said = String::from_utf8_lossy(&mounted.stderr);
    assert!(said.contains("defaultMode: 0400") && said.contains("fsGroup"), "{said}");
    // Where the volume can be written, links are not followed.
    let unmounted = Command::new(&program)
        .args(["token", "probe", "--config", &config])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&unmounted.stderr);
    assert!(said.contains("is a symbolic link"), "{said}");
}

/// Gives a directory and everything in it to a user.
fn give(path: &Path, uid: u32) {
    for entry in std::fs::read_dir(path).unwrap() {
        let entry = entry.unwrap().path();
        if entry.is_dir() && !entry.is_symlink() {
            give(&entry, uid);
        }
        std::os::unix::fs::lchown(&entry, Some(uid), Some(uid)).unwrap();
    }
    chown(path, Some(uid), Some(uid)).unwrap();
}

#[test]
fn roots_commands_work_beside_a_daemon_of_another_user_and_leave_nothing_that_it_cannot_read() {
    let node = token_node::Node::with(Settings::default());
    let (copy, module) = (node.path("dekhand"), node.path("module.so"));
    copy_program(&program(), &copy);
    std::fs::copy(token_shim::path(), &module).unwrap();
    let text = replace_in(
        Path::new(&node.config()),
        token_shim::path().to_str().unwrap(),
        module.to_str().unwrap(),
    );
    std::fs::write(node.config(), &text).unwrap();
    give(&node.path(""), USER);
    give(&node.token.path(""), USER);
    // A configuration must belong to root or to the user who reads it, and so must a PIN.
    chown(node.config(), Some(0), None).unwrap();
    let (pin, of_root) = (node.path("pin"), node.path("pin.root"));
    std::fs::copy(&pin, &of_root).unwrap();
    let roots = node.path("root.yaml").display().to_string();
    std::fs::write(
        &roots,
        text.replace(&format!("{}}}", pin.display()), &format!("{}}}", of_root.display())),
    )
    .unwrap();
    let serve = || {
        let mut command = Command::new("setpriv");
        command
            .args(["--reuid=4321", "--regid=4321", "--clear-groups"])
            .arg(&copy);
        command.args(["serve", "--config", &node.config()]);
        Daemon::of(command)
    };
    let daemon = serve();
    wait_for("status is content", || node.status().status.success());
    for arguments in [
        &["keys", "rotate"][..],
        &["keys", "list"],
        &["keys", "accept-loss", "0011223344556677"],
    ] {
        let output = dekhand(&[arguments, &["--config", &roots]].concat());
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(
            !said.contains("primary belongs to") && !said.contains("cannot record"),
            "{arguments:?}: {said}"
        );
    }
    daemon.stop();
    let again = serve();
    wait_for("status is content", || node.status().status.success());
    again.stop();
}
