//! Messages and services of kube-apiserver's KMS protocols, generated from `proto/`.

use zeroize::Zeroize as _;

/// KMS v1, Kubernetes 1.10 and later.
#[allow(
    missing_docs,
    missing_debug_implementations,
    clippy::allow_attributes_without_reason,
    clippy::pedantic,
    reason = "generated code"
)]
pub mod v1beta1 {
    tonic::include_proto!("v1beta1");
}

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

// Messages with a payload wipe it whenever they are dropped: after encoding, and when a call is cancelled.

impl Drop for v1beta1::EncryptRequest {
    fn drop(&mut self) {
        self.plain.zeroize();
    }
}

impl Drop for v1beta1::DecryptResponse {
    fn drop(&mut self) {
        self.plain.zeroize();
    }
}

impl Drop for v2::EncryptRequest {
    fn drop(&mut self) {
        self.plaintext.zeroize();
    }
}

impl Drop for v2::DecryptResponse {
    fn drop(&mut self) {
        self.plaintext.zeroize();
    }
}
