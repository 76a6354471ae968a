//! The gRPC services that kube-apiserver calls.

mod journal;
pub mod options;
mod refusal;
mod v2;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tonic::service::Routes;

use crate::envelope::Envelope;
use crate::kms::journal::Journal;
use crate::kms::options::StatusVersion;
use crate::kms::v2::KmsV2;
use crate::proto::v2::key_management_service_server::KeyManagementServiceServer;

/// The largest legal message, a v2 Decrypt with all its annotations, is about 35 KiB.
const LONGEST_MESSAGE: usize = 256 << 10;

/// All services over one envelope, for the listener. While `log_requests` is true each request leaves a line; it can be
/// turned at any time.
pub fn routes(envelope: Envelope, version: StatusVersion, log_requests: Arc<AtomicBool>) -> Routes {
    let v2 = KeyManagementServiceServer::new(KmsV2::new(envelope, version, Journal::new(log_requests)));
    Routes::new(v2.max_decoding_message_size(LONGEST_MESSAGE)).prepare()
}
