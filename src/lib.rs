//! dekhand: a Kubernetes KMS provider plugin.

pub mod proto;
