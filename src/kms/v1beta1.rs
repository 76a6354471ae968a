//! KMS v1 over the envelope; on the wire it is called v1beta1.

use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::caller::Caller;
use crate::envelope::Envelope;
use crate::envelope::Purpose;
use crate::kms::error::KmsError;
use crate::kms::error::check;
use crate::kms::request_log::RequestLine;
use crate::kms::request_log::RequestLog;
use crate::listener::caller_of;
use crate::proto::v1beta1::DecryptRequest;
use crate::proto::v1beta1::DecryptResponse;
use crate::proto::v1beta1::EncryptRequest;
use crate::proto::v1beta1::EncryptResponse;
use crate::proto::v1beta1::VersionRequest;
use crate::proto::v1beta1::VersionResponse;
use crate::proto::v1beta1::key_management_service_server::KeyManagementService;

/// The only version of this protocol that was ever released, in requests and responses.
const VERSION: &str = "v1beta1";
/// dekhand's name in the API server's log.
const RUNTIME_NAME: &str = "dekhand";
/// kube-apiserver sends data keys of 32 bytes, and 4 bytes in its health check. The limit does not depend on the root
/// key: under any root key, the sealed payload is short enough.
const LONGEST_PLAIN: usize = 256;
/// kube-apiserver stores the length in two bytes. dekhand's sealed payloads are below 1 KiB.
const LONGEST_CIPHER: usize = 65_535;

/// The service. It holds no state. Its protocol has no `key_id`.
#[derive(Debug)]
pub(super) struct KmsV1beta1 {
    envelope: Envelope,
    log: RequestLog,
}

impl KmsV1beta1 {
    pub(super) fn new(envelope: Envelope, log: RequestLog) -> Self {
        Self { envelope, log }
    }

    async fn seal(
        &self,
        request: &EncryptRequest,
        caller: Caller,
        line: &mut RequestLine,
    ) -> Result<EncryptResponse, KmsError> {
        check_version(&request.version)?;
        check(!request.plain.is_empty(), "plain is empty")?;
        check(request.plain.len() <= LONGEST_PLAIN, "plain is longer than 256 bytes")?;
        let sealed = self.envelope.encrypt(Purpose::Kms1, &request.plain, caller).await?;
        line.key_id = sealed.key_id.to_string();
        line.sealed_bytes = sealed.bytes.len();
        Ok(EncryptResponse { cipher: sealed.bytes })
    }

    async fn open(
        &self,
        request: &DecryptRequest,
        caller: Caller,
        line: &mut RequestLine,
    ) -> Result<DecryptResponse, KmsError> {
        check_version(&request.version)?;
        check(!request.cipher.is_empty(), "cipher is empty")?;
        check(
            request.cipher.len() <= LONGEST_CIPHER,
            "cipher is longer than 65535 bytes",
        )?;
        let opened = self.envelope.decrypt(Purpose::Kms1, &request.cipher, None, caller);
        let mut payload = opened.await?;
        line.payload_bytes = payload.len();
        // Moved, not copied: the response wipes it.
        Ok(DecryptResponse {
            plain: std::mem::take(&mut *payload),
        })
    }
}

/// Answers `Version`. This needs no root key: kube-apiserver calls it before its first Encrypt or Decrypt, which report
/// the state of the root key.
fn introduce(request: &VersionRequest) -> Result<VersionResponse, KmsError> {
    check_version(&request.version)?;
    Ok(VersionResponse {
        version: VERSION.to_owned(),
        runtime_name: RUNTIME_NAME.to_owned(),
        runtime_version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

fn check_version(version: &str) -> Result<(), KmsError> {
    check(version == VERSION, "version is not v1beta1")
}

#[tonic::async_trait]
impl KeyManagementService for KmsV1beta1 {
    async fn version(&self, request: Request<VersionRequest>) -> Result<Response<VersionResponse>, Status> {
        let line = RequestLine::begin(VERSION, "Version", "");
        self.log.end(line, introduce(request.get_ref()))
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let caller = caller_of(request.extensions());
        let request = request.into_inner();
        let mut line = RequestLine::begin(VERSION, "Encrypt", "");
        line.payload_bytes = request.plain.len();
        let result = self.seal(&request, caller, &mut line).await;
        self.log.end(line, result)
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let caller = caller_of(request.extensions());
        let request = request.into_inner();
        let mut line = RequestLine::begin(VERSION, "Decrypt", "");
        line.sealed_bytes = request.cipher.len();
        let result = self.open(&request, caller, &mut line).await;
        self.log.end(line, result)
    }
}

#[cfg(test)]
mod tests;
