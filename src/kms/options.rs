//! What an operator may choose about the gRPC services.

use serde::Deserialize;
use serde::Serialize;

use crate::envelope::Purpose;

/// The options of the gRPC services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KmsOptions {
    /// What `Status` says.
    pub status_version: StatusVersion,
    /// Whether KMS v1 is served beside KMS v2.
    pub v1beta1: V1beta1,
    /// Whether each request gets a line in the log. Can change while the daemon runs.
    pub log_requests: bool,
}

impl KmsOptions {
    /// For which purposes payloads are sealed.
    pub fn purposes(&self) -> Vec<Purpose> {
        match self.v1beta1 {
            V1beta1::Auto => vec![Purpose::Kms2, Purpose::Kms1],
            V1beta1::Off => vec![Purpose::Kms2],
        }
    }
}

/// Whether KMS v1 is served.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum V1beta1 {
    /// To whoever calls it.
    #[default]
    Auto,
    /// To nobody: its calls are UNIMPLEMENTED.
    Off,
}

/// The version string of `Status`. kube-apiserver remembers the first one it saw, so it can't change while it runs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StatusVersion {
    /// Kubernetes 1.29 and later.
    #[default]
    V2,
    /// Kubernetes 1.27 and 1.28.
    V2beta1,
}

impl StatusVersion {
    /// As it goes over the wire.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2beta1 => "v2beta1",
        }
    }
}
