//! The socket's file or directory is removed while the listener runs.

use std::path::PathBuf;

use tokio::net::UnixListener;

use super::*;

impl Daemon {
    fn path(&self) -> PathBuf {
        self.directory.path().join("kms.sock")
    }

    /// Waits until callers can reach the socket, and calls.
    async fn until_it_answers(&self) {
        let reached = async {
            while UnixStream::connect(self.path()).await.is_err() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(HANG, reached).await.expect("the socket is there");
        assert_eq!(encrypt(&self.client().await, b"payload").await.unwrap(), b"payload");
        assert!(self.claim.verdict().is_ok());
    }
}

#[tokio::test]
async fn a_socket_that_was_removed_is_made_again_and_open_connections_stay() {
    let mut daemon = Daemon::start();
    let client = daemon.client().await;
    for _ in 0..2 {
        std::fs::remove_file(daemon.path()).unwrap();
        assert!(daemon.claim.verdict().is_err());
        daemon.until_it_answers().await;
    }
    assert_eq!(encrypt(&client, b"payload").await.unwrap(), b"payload");
    daemon.stop();
    until(|| daemon.task.is_finished()).await;
    assert!(!daemon.path().exists(), "the new one is removed at the end");
}

#[tokio::test]
async fn in_an_emptied_directory_the_lock_is_taken_again_too() {
    let daemon = Daemon::start();
    for entry in std::fs::read_dir(daemon.directory.path()).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    daemon.until_it_answers().await;
    let options = ListenerOptions::at(daemon.path().to_str().unwrap().parse().unwrap());
    let second = Listener::open(&options, "second", None, Metrics::new()).unwrap_err();
    assert!(second.to_string().contains("daemon test"), "{second}");
}

#[tokio::test]
async fn a_directory_that_comes_back_has_the_socket_again() {
    let daemon = Daemon::start();
    let aside = daemon.directory.path().with_extension("aside");
    std::fs::rename(daemon.directory.path(), &aside).unwrap();
    until(|| daemon.claim.verdict().is_err()).await;
    std::fs::create_dir(daemon.directory.path()).unwrap();
    daemon.until_it_answers().await;
    std::fs::remove_dir_all(aside).unwrap();
}

#[tokio::test]
async fn a_path_that_another_program_serves_is_left_to_it() {
    let mut daemon = Daemon::start();
    std::fs::remove_file(daemon.path()).unwrap();
    let other = UnixListener::bind(daemon.path()).unwrap();
    // The daemon has connected to see who serves it.
    other.accept().await.unwrap();
    assert!(daemon.claim.verdict().is_err());
    drop(other);
    daemon.until_it_answers().await;

    std::fs::remove_file(daemon.path()).unwrap();
    let other = UnixListener::bind(daemon.path()).unwrap();
    other.accept().await.unwrap();
    daemon.stop();
    until(|| daemon.task.is_finished()).await;
    assert!(daemon.path().exists(), "it is not the daemon's");
}
