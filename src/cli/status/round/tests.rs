//! `status` against daemons that are well, away, refusing, and lying.

use std::collections::HashMap;
use std::sync::Arc;

use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use super::*;
use crate::listener::Listener;
use crate::listener::options::ListenerOptions;
use crate::proto::v2::DecryptResponse;
use crate::proto::v2::key_management_service_server::KeyManagementService;
use crate::proto::v2::key_management_service_server::KeyManagementServiceServer;
use crate::telemetry::metrics::Metrics;

/// What a plugin does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    Unavailable,
    Hangs,
    BadHealth,
    BadVersion,
    OtherKeyId,
    LongCiphertext,
    OtherPlaintext,
}

struct Plugin(Fault);

#[tonic::async_trait]
impl KeyManagementService for Plugin {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        match self.0 {
            Fault::Unavailable => return Err(Status::unavailable("the root key cannot be reached")),
            Fault::Hangs => std::future::pending().await,
            _ => {}
        }
        Ok(Response::new(StatusResponse {
            version: if self.0 == Fault::BadVersion { "v1" } else { "v2" }.to_owned(),
            healthz: if self.0 == Fault::BadHealth { "bad" } else { "ok" }.to_owned(),
            key_id: "0a1b".to_owned(),
        }))
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let mut ciphertext = request.get_ref().plaintext.clone();
        ciphertext.reverse();
        if self.0 == Fault::LongCiphertext {
            ciphertext.resize(1025, 0);
        }
        Ok(Response::new(EncryptResponse {
            ciphertext,
            key_id: if self.0 == Fault::OtherKeyId { "0a1c" } else { "0a1b" }.to_owned(),
            annotations: HashMap::new(),
        }))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let mut plaintext = request.into_inner().ciphertext;
        if self.0 != Fault::OtherPlaintext {
            plaintext.reverse();
        }
        Ok(Response::new(DecryptResponse { plaintext }))
    }
}

struct Served {
    socket: SocketAddress,
    task: JoinHandle<io::Result<()>>,
    _directory: Arc<TempDir>,
}

impl Drop for Served {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn address_in(directory: &TempDir) -> SocketAddress {
    directory.path().join("kms.sock").to_str().unwrap().parse().unwrap()
}

fn serve(fault: Fault) -> Served {
    let directory = Arc::new(tempfile::tempdir().unwrap());
    serve_at(address_in(&directory), fault, directory)
}

fn serve_at(socket: SocketAddress, fault: Fault, directory: Arc<TempDir>) -> Served {
    let options = ListenerOptions::at(socket.clone());
    let listener = Listener::open(&options, "test", None, Metrics::new()).unwrap();
    let routes = Routes::new(KeyManagementServiceServer::new(Plugin(fault)));
    Served {
        socket,
        task: tokio::spawn(listener.serve(routes, std::future::pending())),
        _directory: directory,
    }
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test]
async fn a_daemon_that_is_well_is_told_in_full() {
    let served = serve(Fault::None);
    let round = run(&served.socket, LONG).await.unwrap();
    let text = round.to_text();
    assert!(
        text.contains("key_id       0a1b\n") && text.contains("sealed 32"),
        "{text}"
    );
    assert!(text.ends_with("v1beta1      off"), "this plugin has none: {text}");
    let json = serde_json::to_value(&round).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["socket"], served.socket.to_string());
    assert_eq!(json["key_id_hash"], key_id_hash("0a1b"));
    assert_eq!(
        (&json["payload_bytes"], &json["sealed_bytes"]),
        (&32.into(), &32.into())
    );
    for time in ["status_ms", "encrypt_ms", "decrypt_ms"] {
        assert!(json[time].as_f64().unwrap() > 0.0, "{json}");
    }
}

#[tokio::test]
async fn an_abstract_socket_is_reached() {
    let name = format!("@dekhand-status-test-{}", std::process::id());
    let directory = Arc::new(tempfile::tempdir().unwrap());
    let served = serve_at(name.parse().unwrap(), Fault::None, directory);
    run(&served.socket, LONG).await.unwrap();
}

#[tokio::test]
async fn nobody_listening_is_unreachable() {
    let directory = tempfile::tempdir().unwrap();
    let error = run(&address_in(&directory), LONG).await.unwrap_err();
    assert!(error.is_unreachable() && error.hint().is_some(), "{error}");
    drop(UnixListener::bind(directory.path().join("kms.sock")).unwrap());
    assert!(run(&address_in(&directory), LONG).await.unwrap_err().is_unreachable());
}

#[tokio::test]
async fn who_is_turned_away_is_unreachable_and_told_of_peers() {
    let directory = tempfile::tempdir().unwrap();
    let listener = UnixListener::bind(directory.path().join("kms.sock")).unwrap();
    let task = tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            drop(stream);
        }
    });
    let error = run(&address_in(&directory), LONG).await.unwrap_err();
    assert!(
        error.is_unreachable() && error.hint().unwrap().contains("peers"),
        "{error}"
    );
    task.abort();
}

#[tokio::test]
async fn a_refused_call_shows_code_and_sentence() {
    let served = serve(Fault::Unavailable);
    let error = run(&served.socket, LONG).await.unwrap_err();
    assert!(!error.is_unreachable());
    assert_eq!(error.code(), Some("UNAVAILABLE"));
    assert_eq!(
        error.to_string(),
        "Status failed with UNAVAILABLE: the root key cannot be reached"
    );
}

#[tokio::test]
async fn a_daemon_that_hangs_is_not_waited_for() {
    let served = serve(Fault::Hangs);
    let error = run(&served.socket, Duration::from_millis(50)).await.unwrap_err();
    assert_eq!(error.code(), Some("DEADLINE_EXCEEDED"));
}

#[tokio::test]
async fn an_answer_that_kube_apiserver_would_not_take_is_a_failure() {
    for (fault, call) in [
        (Fault::BadHealth, "Status"),
        (Fault::BadVersion, "Status"),
        (Fault::OtherKeyId, "Encrypt"),
        (Fault::LongCiphertext, "Encrypt"),
        (Fault::OtherPlaintext, "Decrypt"),
    ] {
        let served = serve(fault);
        let error = run(&served.socket, LONG).await.unwrap_err();
        assert!(
            !error.is_unreachable() && error.to_string().starts_with(call),
            "{fault:?}: {error}"
        );
    }
}
