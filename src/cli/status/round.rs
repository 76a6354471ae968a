//! One round of the calls that kube-apiserver makes, with the checks that it makes on each response.

use std::io;
use std::time::Duration;

use serde::Serialize;
use tokio::net::UnixStream;
use tokio::time::Instant;
use tonic::Code;
use tonic::Request;
use tonic::Response;
use tonic::Status;
use zeroize::Zeroizing;

use crate::cli::status::error::StatusError;
use crate::listener::options::SocketAddress;
use crate::proto::v1beta1::VersionRequest;
use crate::proto::v1beta1::key_management_service_client::KeyManagementServiceClient as V1beta1Client;
use crate::proto::v2::DecryptRequest;
use crate::proto::v2::EncryptRequest;
use crate::proto::v2::EncryptResponse;
use crate::proto::v2::StatusRequest;
use crate::proto::v2::StatusResponse;
use crate::proto::v2::key_management_service_client::KeyManagementServiceClient;
use crate::root_key::id::key_id_hash;
use crate::rpc::client::Channel;
use crate::secret::random_bytes;

/// Bytes of kube-apiserver's seed.
const PAYLOAD: usize = 32;
/// The longest `key_id` or ciphertext that kube-apiserver accepts, in bytes.
const LONGEST: usize = 1024;

/// A successful round.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Round {
    ok: bool,
    socket: String,
    version: String,
    healthz: String,
    key_id: String,
    key_id_hash: String,
    payload_bytes: usize,
    sealed_bytes: usize,
    status_ms: f64,
    encrypt_ms: f64,
    decrypt_ms: f64,
    v1beta1: V1beta1Support,
}

/// Whether the daemon also serves KMS v1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum V1beta1Support {
    Served,
    Off,
}

/// Calls Status, encrypts random bytes, decrypts the result, and checks for KMS v1. Each call has `timeout`.
pub(super) async fn run(socket: &SocketAddress, timeout: Duration) -> Result<Round, StatusError> {
    let mut daemon = Daemon::connect(socket, timeout).await?;
    let (status, status_ms) = daemon.status().await?;
    let payload = Zeroizing::new(random_bytes::<PAYLOAD>()?);
    let (sealed, encrypt_ms) = daemon.encrypt(payload.as_slice()).await?;
    if sealed.key_id != status.key_id {
        // A new version may have become primary between the two calls; then Status names it now.
        let (again, _) = daemon.status().await?;
        let what = "its key_id differs from that of Status";
        check(sealed.key_id == again.key_id, "Encrypt", what)?;
    }
    let sealed_bytes = sealed.ciphertext.len();
    let key_id = sealed.key_id.clone();
    let (opened, decrypt_ms) = daemon.decrypt(sealed).await?;
    check(*opened == *payload, "Decrypt", "its plaintext is not the original")?;
    let v1beta1 = daemon.v1beta1().await?;
    Ok(Round {
        ok: true,
        socket: socket.to_string(),
        version: status.version,
        healthz: status.healthz,
        key_id_hash: key_id_hash(&key_id),
        key_id,
        payload_bytes: PAYLOAD,
        sealed_bytes,
        status_ms,
        encrypt_ms,
        decrypt_ms,
        v1beta1,
    })
}

/// Whether the daemon answers calls at all. Any answer counts: a daemon whose token is away must not be restarted,
/// because it would lose the data keys in memory.
pub(super) async fn live(socket: &SocketAddress, timeout: Duration) -> Result<(), StatusError> {
    let mut daemon = Daemon::connect(socket, timeout).await?;
    match daemon.status().await {
        Err(StatusError::Refused { code, .. }) if code != Code::DeadlineExceeded => Ok(()),
        answer => answer.map(drop),
    }
}

/// A daemon that answers.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Alive {
    ok: bool,
    socket: String,
}

impl Alive {
    pub(super) fn of(socket: &SocketAddress) -> Self {
        Self {
            ok: true,
            socket: socket.to_string(),
        }
    }
}

/// What `status` shows when all is well.
pub(super) trait Printable {
    /// For people.
    fn to_text(&self) -> String;
}

impl<T: Printable> Printable for &T {
    fn to_text(&self) -> String {
        T::to_text(self)
    }
}

impl Printable for Alive {
    fn to_text(&self) -> String {
        format!("{} answers", self.socket)
    }
}

impl Printable for Round {
    fn to_text(&self) -> String {
        let Self {
            ok: _,
            socket,
            version,
            healthz,
            key_id,
            key_id_hash,
            payload_bytes,
            sealed_bytes,
            status_ms,
            encrypt_ms,
            decrypt_ms,
            v1beta1,
        } = self;
        let v1beta1 = match v1beta1 {
            V1beta1Support::Served => "served",
            V1beta1Support::Off => "off",
        };
        format!(
            "socket       {socket}\n\
             version      {version}\n\
             healthz      {healthz}\n\
             key_id       {key_id}\n\
             key_id_hash  {key_id_hash}\n\
             sizes        {payload_bytes} bytes, sealed {sealed_bytes}\n\
             Status       {status_ms:.2} ms\n\
             Encrypt      {encrypt_ms:.2} ms\n\
             Decrypt      {decrypt_ms:.2} ms\n\
             v1beta1      {v1beta1}",
            key_id = key_id.escape_debug()
        )
    }
}

/// A connection to the daemon.
struct Daemon<'a> {
    socket: &'a SocketAddress,
    timeout: Duration,
    client: KeyManagementServiceClient<Channel>,
    v1beta1: V1beta1Client<Channel>,
}

impl<'a> Daemon<'a> {
    async fn connect(socket: &'a SocketAddress, timeout: Duration) -> Result<Self, StatusError> {
        let failed = |source| StatusError::NotListening {
            socket: socket.clone(),
            source,
        };
        let stream = match tokio::time::timeout(timeout, connect(socket)).await {
            Ok(connected) => connected.map_err(failed)?,
            Err(_elapsed) => return Err(failed(io::ErrorKind::TimedOut.into())),
        };
        let channel = Channel::over(stream)
            .await
            .map_err(|_| StatusError::NoAnswer { socket: socket.clone() })?;
        Ok(Self {
            socket,
            timeout,
            v1beta1: channel.clone().kms_v1beta1(),
            client: channel.kms_v2(),
        })
    }

    async fn status(&mut self) -> Result<(StatusResponse, f64), StatusError> {
        let mut client = self.client.clone();
        let call = client.status(self.request(StatusRequest {}));
        let (status, ms) = self.timed("Status", call).await?;
        let version = ["v2", "v2beta1"].contains(&status.version.as_str());
        check(version, "Status", "its version is neither v2 nor v2beta1")?;
        check(status.healthz == "ok", "Status", "its healthz is not ok")?;
        check(is_key_id(&status.key_id), "Status", "its key_id is empty or too long")?;
        Ok((status, ms))
    }

    async fn encrypt(&mut self, payload: &[u8]) -> Result<(EncryptResponse, f64), StatusError> {
        let mut client = self.client.clone();
        let call = client.encrypt(self.request(EncryptRequest {
            plaintext: payload.to_vec(),
            uid: "dekhand-status".to_owned(),
        }));
        let (sealed, ms) = self.timed("Encrypt", call).await?;
        let length = (1..=LONGEST).contains(&sealed.ciphertext.len());
        check(length, "Encrypt", "its ciphertext is empty or too long")?;
        check(is_key_id(&sealed.key_id), "Encrypt", "its key_id is empty or too long")?;
        Ok((sealed, ms))
    }

    async fn decrypt(&mut self, sealed: EncryptResponse) -> Result<(Zeroizing<Vec<u8>>, f64), StatusError> {
        let mut client = self.client.clone();
        let call = client.decrypt(self.request(DecryptRequest {
            ciphertext: sealed.ciphertext,
            uid: "dekhand-status".to_owned(),
            key_id: sealed.key_id,
            annotations: sealed.annotations,
        }));
        let (mut opened, ms) = self.timed("Decrypt", call).await?;
        Ok((Zeroizing::new(std::mem::take(&mut opened.plaintext)), ms))
    }

    /// Whether the daemon serves KMS v1. The round over KMS v2 has already tested encryption and decryption.
    async fn v1beta1(&mut self) -> Result<V1beta1Support, StatusError> {
        const VERSION: &str = "v1beta1";
        let mut client = self.v1beta1.clone();
        let call = client.version(self.request(VersionRequest {
            version: VERSION.to_owned(),
        }));
        match self.timed("Version of v1beta1", call).await {
            Ok((answer, _)) => {
                let right = answer.version == VERSION;
                check(right, "Version of v1beta1", "its version is not v1beta1")?;
                Ok(V1beta1Support::Served)
            }
            Err(StatusError::Refused {
                code: Code::Unimplemented,
                ..
            }) => Ok(V1beta1Support::Off),
            Err(error) => Err(error),
        }
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.set_timeout(self.timeout);
        request
    }

    /// The response of a call, and its duration in milliseconds.
    async fn timed<T>(
        &self,
        call: &'static str,
        answer: impl Future<Output = Result<Response<T>, Status>>,
    ) -> Result<(T, f64), StatusError> {
        let begin = Instant::now();
        // The daemon enforces the deadline; this limit is for a daemon that does not.
        let patience = self.timeout.saturating_add(Duration::from_millis(500));
        let status = match tokio::time::timeout(patience, answer).await {
            Ok(Ok(response)) => return Ok((response.into_inner(), begin.elapsed().as_secs_f64() * 1000.0)),
            Ok(Err(status)) => status,
            Err(_elapsed) => Status::deadline_exceeded("there was no response in time"),
        };
        // A status with a cause comes from this side, because of a broken connection.
        if std::error::Error::source(&status).is_some() {
            return Err(StatusError::NoAnswer {
                socket: self.socket.clone(),
            });
        }
        Err(StatusError::Refused {
            call,
            code: status.code(),
            sentence: status.message().escape_debug().to_string(),
        })
    }
}

async fn connect(socket: &SocketAddress) -> io::Result<UnixStream> {
    match socket {
        SocketAddress::Path(path) => UnixStream::connect(path).await,
        SocketAddress::Abstract(name) => UnixStream::connect(format!("\0{name}")).await,
    }
}

fn is_key_id(text: &str) -> bool {
    (1..=LONGEST).contains(&text.len())
}

fn check(holds: bool, call: &'static str, what: &'static str) -> Result<(), StatusError> {
    if holds {
        Ok(())
    } else {
        Err(StatusError::Wrong { call, what })
    }
}

#[cfg(test)]
mod tests;
