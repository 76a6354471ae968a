//! Messages and services of kube-apiserver's KMS protocols, generated from `proto/`.

/// KMS v2, Kubernetes 1.27 and later.
#[allow(
    missing_docs,
    missing_debug_implementations,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    reason = "generated code"
)]
pub mod v2 {
    tonic::include_proto!("v2");
}
