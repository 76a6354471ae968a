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
use crate::kms::options::KmsOptions;
use crate::kms::v2::KmsV2;
use crate::proto::v2::key_management_service_server::KeyManagementServiceServer;

/// The largest legal message, a v2 Decrypt with all its annotations, is about 35 KiB.
const LONGEST_MESSAGE: usize = 256 << 10;

/// All services over one envelope, for the listener. Beside them the switch of [`KmsOptions::log_requests`], which can
/// be turned at any time.
pub fn service(envelope: Envelope, options: &KmsOptions) -> (Routes, Arc<AtomicBool>) {
    let log_requests = Arc::new(AtomicBool::new(options.log_requests));
    let journal = Journal::new(log_requests.clone());
    let v2 = KeyManagementServiceServer::new(KmsV2::new(envelope, options.status_version, journal));
    let routes = Routes::new(v2.max_decoding_message_size(LONGEST_MESSAGE));
    (routes.prepare(), log_requests)
}
