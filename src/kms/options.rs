//! What an operator may choose about the gRPC services.

use serde::Deserialize;
use serde::Serialize;

/// The options of the gRPC services.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KmsOptions {
    /// What `Status` says.
    pub status_version: StatusVersion,
    /// Whether each request gets a line in the log. Can change while the daemon runs.
    pub log_requests: bool,
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
