//! Promises of the socket to callers, to other daemons and about the file system.

use std::os::unix::fs::MetadataExt as _;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::os::unix::net::UnixStream;
use std::path::Path;

use tempfile::TempDir;

use super::*;

fn private_directory() -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    chmod(directory.path(), 0o700);
    directory
}

fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

fn options(socket: &str) -> ListenerOptions {
    ListenerOptions::at(socket.parse().unwrap())
}

fn open(path: &Path) -> Result<Socket, SocketError> {
    Socket::open(&options(path.to_str().unwrap()), "kube-root", None)
}

#[test]
fn nobody_connects_before_the_mode_is_set() {
    let directory = private_directory();
    let path = directory.path().join("kms.sock");
    let address = SocketAddrUnix::new(&path).unwrap();
    // The step between the two, as `open_path` takes it: bound, mode not yet set.
    let bound = stale::new_socket().unwrap();
    rustix::net::bind(&bound, &address).unwrap();
    assert_eq!(stale::connect(&address).unwrap_err(), Errno::CONNREFUSED);
    std::fs::remove_file(&path).unwrap();

    let socket = open(&path).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o600);
    UnixStream::connect(&path).unwrap();
    drop(socket);
}

#[test]
fn the_configured_mode_wins_over_the_umask() {
    let directory = private_directory();
    let path = directory.path().join("kms.sock");
    let options = ListenerOptions {
        mode: 0o666,
        ..options(path.to_str().unwrap())
    };
    let _socket = Socket::open(&options, "kube-root", None).unwrap();
    assert_eq!(std::fs::metadata(&path).unwrap().mode() & 0o777, 0o666);
}

#[test]
fn a_closed_socket_leaves_no_name_behind() {
    let directory = private_directory();
    let path = directory.path().join("kms.sock");
    drop(open(&path).unwrap());
    assert!(!path.exists());
    open(&path).unwrap();
}

#[test]
fn a_leftover_of_a_crash_is_replaced() {
    let directory = private_directory();
    let path = directory.path().join("kms.sock");
    drop(UnixListener::bind(&path).unwrap());
    assert!(path.exists());
    let _socket = open(&path).unwrap();
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_live_daemon_is_respected_and_named() {
    let directory = private_directory();
    let path = directory.path().join("kms.sock");
    let first = open(&path).unwrap();
    let error = open(&path).unwrap_err();
    let expected = format!("served by daemon kube-root, process {}", std::process::id());
    assert!(error.is_in_use() && error.to_string().contains(&expected), "{error}");
    UnixStream::connect(&path).unwrap();
    drop(first);
    open(&path).unwrap();
}

#[test]
fn a_live_socket_of_another_program_is_respected_and_named() {
    let directory = private_directory();
    let path = directory.path().join("kms.sock");
    let _theirs = UnixListener::bind(&path).unwrap();
    let error = open(&path).unwrap_err();
    let expected = format!("process {}", std::process::id());
    assert!(error.is_in_use() && error.to_string().contains(&expected), "{error}");
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_live_socket_of_another_type_is_respected() {
    let directory = private_directory();
    let path = directory.path().join("kms.sock");
    let _theirs = UnixDatagram::bind(&path).unwrap();
    assert!(open(&path).unwrap_err().is_in_use());
    assert!(path.exists());
}

#[test]
fn what_is_no_socket_is_never_removed() {
    let directory = private_directory();
    let file = directory.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(open(&file), Err(SocketError::NotASocket { .. })));
    let link = directory.path().join("link");
    symlink(&file, &link).unwrap();
    assert!(matches!(open(&link), Err(SocketError::NotASocket { .. })));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
}

#[test]
fn only_our_own_inode_is_unlinked() {
    let directory = private_directory();
    let path = directory.path().join("kms.sock");
    let socket = open(&path).unwrap();
    assert!(socket.name.claim.verdict().is_ok());
    std::fs::remove_file(&path).unwrap();
    assert!(socket.name.claim.verdict().unwrap_err().contains("is gone"));
    let theirs = UnixListener::bind(&path).unwrap();
    assert!(
        socket
            .name
            .claim
            .verdict()
            .unwrap_err()
            .contains("no longer this daemon's")
    );
    drop(socket);
    UnixStream::connect(&path).unwrap();
    drop(theirs);
}

#[test]
fn a_directory_that_others_can_write_to_is_refused_with_the_mend() {
    for mode in [0o777, 0o770, 0o1777, 0o702] {
        let directory = private_directory();
        chmod(directory.path(), mode);
        let error = open(&directory.path().join("kms.sock")).unwrap_err().to_string();
        let mend = format!("chmod go-w {}", directory.path().display());
        assert!(error.contains(&mend), "{error}");
        assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn a_directory_above_that_others_can_write_to_is_refused_unless_sticky() {
    let above = private_directory();
    let directory = above.path().join("run");
    std::fs::create_dir(&directory).unwrap();
    chmod(&directory, 0o700);
    chmod(above.path(), 0o777);
    let error = open(&directory.join("kms.sock")).unwrap_err();
    assert!(matches!(error, SocketError::WritableDirectory { .. }), "{error}");
    chmod(above.path(), 0o1777);
    open(&directory.join("kms.sock")).unwrap();
}

#[test]
fn a_missing_directory_is_named_with_the_mend() {
    let directory = private_directory();
    let error = open(&directory.path().join("missing/kms.sock"))
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("missing of the socket does not exist (install -d -m 0755 /"),
        "{error}"
    );
}

#[test]
fn an_abstract_socket_is_served_and_respected() {
    let name = format!("@dekhand-test-{}", std::process::id());
    let socket = Socket::open(&options(&name), "kube-root", None).unwrap();
    assert!(socket.name.claim.verdict().is_ok());
    let error = Socket::open(&options(&name), "kube-root", None).unwrap_err();
    assert!(error.is_in_use() && error.to_string().contains("process"), "{error}");
    drop(socket);
    Socket::open(&options(&name), "kube-root", None).unwrap();
}

#[test]
fn an_adopted_socket_is_served_and_left_to_the_service_manager() {
    let directory = private_directory();
    let path = directory.path().join("kms.sock");
    let theirs = UnixListener::bind(&path).unwrap();
    let options = options(path.to_str().unwrap());
    let socket = Socket::open(&options, "kube-root", Some(theirs.try_clone().unwrap())).unwrap();
    assert_eq!(socket.name.address, options.socket);
    assert!(socket.name.claim.verdict().is_ok());
    drop(socket);
    UnixStream::connect(&path).unwrap();
}

#[test]
fn a_passed_socket_that_does_not_listen_is_refused() {
    let socket = UnixListener::from(stale::new_socket().unwrap());
    let error = activation::listening(socket).unwrap_err().to_string();
    assert!(error.contains("does not listen"), "{error}");
}
