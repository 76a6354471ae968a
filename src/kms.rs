//! The gRPC services that kube-apiserver calls.

pub mod options;
mod refusal;
mod request_log;
#[cfg(test)]
mod test_plugin;
mod v1beta1;
mod v2;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tonic::service::Routes;

use crate::envelope::Envelope;
use crate::kms::options::KmsOptions;
use crate::kms::options::V1beta1;
use crate::kms::request_log::Journal;
use crate::kms::v1beta1::KmsV1beta1;
use crate::kms::v2::KmsV2;
use crate::proto::v1beta1::key_management_service_server::KeyManagementServiceServer as V1beta1Server;
use crate::proto::v2::key_management_service_server::KeyManagementServiceServer;

/// The largest legal message, a v2 Decrypt with all its annotations, is about 35 KiB.
const LONGEST_MESSAGE: usize = 256 << 10;

/// All services over one envelope, for the listener. While `log_requests` is true, each request is logged; the flag can
/// be changed at any time.
pub fn routes(envelope: Envelope, options: &KmsOptions, log_requests: Arc<AtomicBool>) -> Routes {
    let KmsOptions {
        status_version,
        v1beta1,
        // Only the initial value; the flag `log_requests` above has the current one.
        log_requests: _,
    } = options;
    let journal = Journal::new(log_requests);
    let v2 = KmsV2::new(envelope.clone(), *status_version, journal.clone());
    let v2 = KeyManagementServiceServer::new(v2).max_decoding_message_size(LONGEST_MESSAGE);
    let routes = Routes::new(v2);
    let routes = match v1beta1 {
        V1beta1::Auto => {
            let v1 = V1beta1Server::new(KmsV1beta1::new(envelope, journal));
            routes.add_service(v1.max_decoding_message_size(LONGEST_MESSAGE))
        }
        V1beta1::Off => routes,
    };
    routes.prepare()
}
