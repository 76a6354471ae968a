//! The options of the gRPC services.

use serde::Deserialize;
use serde::Serialize;

use crate::envelope::Purpose;

/// The options of the gRPC services, as an operator sets them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KmsOptions {
    /// The version string of `Status`.
    pub status_version: StatusVersion,
    /// Whether KMS v1 is served beside KMS v2.
    pub v1beta1: V1beta1,
    /// Whether each request is logged. Can change while the daemon runs.
    pub log_requests: bool,
}

impl KmsOptions {
    /// The purposes for which payloads are sealed.
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
    /// Yes, to every allowed caller.
    #[default]
    Auto,
    /// No: its calls return UNIMPLEMENTED.
    Off,
}

/// The version string of `Status`. It cannot change at runtime, because kube-apiserver keeps the first one that it
/// reads.
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
    /// The string in the response.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::V2 => "v2",
            Self::V2beta1 => "v2beta1",
        }
    }
}
