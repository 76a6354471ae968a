//! KMS v2 over the envelope.

use std::collections::HashMap;

use tonic::Request;
use tonic::Response;
use tonic::Status;

use crate::caller::Caller;
use crate::envelope::Envelope;
use crate::envelope::Purpose;
use crate::kms::error::KmsError;
use crate::kms::error::check;
use crate::kms::options::StatusVersion;
use crate::kms::request_log::RequestLine;
use crate::kms::request_log::RequestLog;
use crate::kms::request_log::escaped;
use crate::listener::caller_of;
use crate::proto::v2::DecryptRequest;
use crate::proto::v2::DecryptResponse;
use crate::proto::v2::EncryptRequest;
use crate::proto::v2::EncryptResponse;
use crate::proto::v2::StatusRequest;
use crate::proto::v2::StatusResponse;
use crate::proto::v2::key_management_service_server::KeyManagementService;

/// This protocol's name in logs, independent of the version in `Status`.
const API: &str = "v2";
/// kube-apiserver's uids are UUIDs; longer ones than this would fill the log.
const LONGEST_UID: usize = 256;
/// The protocol's limit.
const LONGEST_KEY_ID: usize = 1024;
/// The protocol requires "less than 1 kB", since the ciphertext is stored with every object.
const LONGEST_CIPHERTEXT: usize = 1023;

/// The service. It holds no state: each response has the envelope's state at that moment.
#[derive(Debug)]
pub(super) struct KmsV2 {
    envelope: Envelope,
    version: StatusVersion,
    log: RequestLog,
}

impl KmsV2 {
    pub(super) fn new(envelope: Envelope, version: StatusVersion, log: RequestLog) -> Self {
        Self { envelope, version, log }
    }

    fn health(&self, line: &mut RequestLine) -> Result<StatusResponse, KmsError> {
        let key_id = self.envelope.status()?.to_string();
        line.key_id.clone_from(&key_id);
        Ok(StatusResponse {
            version: self.version.as_str().to_owned(),
            // With any other word the API server still encrypts; so an unhealthy daemon returns an error instead.
            healthz: "ok".to_owned(),
            key_id,
        })
    }

    async fn seal(
        &self,
        request: &EncryptRequest,
        caller: Caller,
        line: &mut RequestLine,
    ) -> Result<EncryptResponse, KmsError> {
        check_uid(&request.uid)?;
        check(!request.plaintext.is_empty(), "plaintext is empty")?;
        let sealed = self.envelope.encrypt(Purpose::Kms2, &request.plaintext, caller).await?;
        let key_id = sealed.key_id.to_string();
        line.key_id.clone_from(&key_id);
        line.sealed_bytes = sealed.bytes.len();
        Ok(EncryptResponse {
            ciphertext: sealed.bytes,
            key_id,
            // Everything is inside the ciphertext.
            annotations: HashMap::new(),
        })
    }

    async fn open(
        &self,
        request: &DecryptRequest,
        caller: Caller,
        line: &mut RequestLine,
    ) -> Result<DecryptResponse, KmsError> {
        check_uid(&request.uid)?;
        check(!request.key_id.is_empty(), "key_id is empty")?;
        check(
            request.key_id.len() <= LONGEST_KEY_ID,
            "key_id is longer than 1024 bytes",
        )?;
        check(!request.ciphertext.is_empty(), "ciphertext is empty")?;
        check(
            request.ciphertext.len() <= LONGEST_CIPHERTEXT,
            "ciphertext is longer than 1023 bytes",
        )?;
        check(
            request.annotations.is_empty(),
            "there are annotations, and this plugin makes none",
        )?;
        let opened = self
            .envelope
            .decrypt(Purpose::Kms2, &request.ciphertext, Some(&request.key_id), caller);
        let mut payload = opened.await?;
        line.payload_bytes = payload.len();
        // Moved, not copied: the response wipes it.
        Ok(DecryptResponse {
            plaintext: std::mem::take(&mut *payload),
        })
    }
}

fn check_uid(uid: &str) -> Result<(), KmsError> {
    check(uid.len() <= LONGEST_UID, "uid is longer than 256 bytes")
}

#[tonic::async_trait]
impl KeyManagementService for KmsV2 {
    async fn status(&self, _: Request<StatusRequest>) -> Result<Response<StatusResponse>, Status> {
        let mut line = RequestLine::begin(API, "Status", "");
        let result = self.health(&mut line);
        self.log.end(line, result)
    }

    async fn encrypt(&self, request: Request<EncryptRequest>) -> Result<Response<EncryptResponse>, Status> {
        let caller = caller_of(request.extensions());
        let request = request.into_inner();
        let mut line = RequestLine::begin(API, "Encrypt", &request.uid);
        line.payload_bytes = request.plaintext.len();
        let result = self.seal(&request, caller, &mut line).await;
        self.log.end(line, result)
    }

    async fn decrypt(&self, request: Request<DecryptRequest>) -> Result<Response<DecryptResponse>, Status> {
        let caller = caller_of(request.extensions());
        let request = request.into_inner();
        let mut line = RequestLine::begin(API, "Decrypt", &request.uid);
        line.key_id = escaped(&request.key_id);
        line.sealed_bytes = request.ciphertext.len();
        let result = self.open(&request, caller, &mut line).await;
        self.log.end(line, result)
    }
}

#[cfg(test)]
mod tests;
