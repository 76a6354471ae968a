//! Without descriptors the listener does not spin: those who say nothing make room, and it serves again when there are
//! some. In a process of its own, since it lowers this process's limit.

use std::collections::HashMap;
use std::os::unix::net::UnixStream as StdUnixStream;
use std::time::Duration;

use dekhand::listener::Listener;
use dekhand::listener::options::ListenerOptions;
use dekhand::proto::v2::DecryptRequest;
use dekhand::proto::v2::DecryptResponse;
use dekhand::proto::v2::EncryptRequest;
use dekhand::proto::v2::EncryptResponse;
use dekhand::proto::v2::StatusRequest;
use dekhand::proto::v2::StatusResponse;
use dekhand::proto::v2::key_management_service_client::KeyManagementServiceClient;
use dekhand::proto::v2::key_management_service_server::KeyManagementService;
use dekhand::proto::v2::key_management_service_server::KeyManagementServiceServer;
use dekhand::rpc::client::Channel;
use dekhand::telemetry::metrics::Metrics;
use rustix::process::Resource;
use rustix::process::Rlimit;
use rustix::time::ClockId;
use tokio::net::UnixStream;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use tonic::service::Routes;

struct Echo;

#[tonic::async_trait]
impl KeyManagementService for Echo {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        Ok(Response::new(StatusResponse::default()))
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let plaintext = request.into_inner().ciphertext;
        Ok(Response::new(DecryptResponse { plaintext }))
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        Ok(Response::new(EncryptResponse {
            ciphertext: request.get_ref().plaintext.clone(),
            key_id: String::new(),
            annotations: HashMap::new(),
        }))
    }
}

/// A client on this connection that was answered, unless it was closed.
async fn served(stream: UnixStream) -> Option<KeyManagementServiceClient<Channel>> {
    let call = async {
        let mut client = Channel::over(stream).await.ok()?.kms_v2();
        client.status(StatusRequest {}).await.ok()?;
        Some(client)
    };
    let called = tokio::time::timeout(Duration::from_secs(60), call).await;
    called.unwrap_or_else(|_| panic!("it neither answers nor closes"))
}

fn cpu_time() -> Duration {
    let spec = rustix::time::clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(
        u64::try_from(spec.tv_sec).unwrap_or_default(),
        u32::try_from(spec.tv_nsec).unwrap_or_default(),
    )
}

#[tokio::test]
async fn without_descriptors_the_silent_make_room_and_the_listener_goes_on() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("kms.sock");
    let options = ListenerOptions::at(path.to_str().unwrap().parse().unwrap());
    let listener = Listener::open(&options, "test", None, Metrics::new()).unwrap();
    // They wait in the backlog: only `accept` needs a descriptor on this side.
    let waiting: Vec<_> = (0..20).map(|_| StdUnixStream::connect(&path).unwrap()).collect();
    let before = rustix::process::getrlimit(Resource::Nofile);
    let open = std::fs::read_dir("/proc/self/fd").unwrap().count();
    let lower = Rlimit {
        current: Some(u64::try_from(open).unwrap() + 3),
        ..before
    };
    rustix::process::setrlimit(Resource::Nofile, lower).unwrap();
    let routes = Routes::new(KeyManagementServiceServer::new(Echo));
    let task = tokio::spawn(listener.serve(routes, std::future::pending()));
    let cpu_before = cpu_time();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let used = cpu_time().saturating_sub(cpu_before);
    assert!(used < Duration::from_secs(1), "it spun: {used:?} of 2 s");
    rustix::process::setrlimit(Resource::Nofile, before).unwrap();
    // Some of those that said nothing have made room for others behind them.
    let mut clients = vec![];
    for stream in waiting {
        stream.set_nonblocking(true).unwrap();
        clients.extend(served(UnixStream::from_std(stream).unwrap()).await);
    }
    assert!((1..20).contains(&clients.len()), "{} of 20 are served", clients.len());
    let newcomer = UnixStream::connect(&path).await.unwrap();
    served(newcomer).await.expect("it serves again");
    task.abort();
}
