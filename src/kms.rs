//! The gRPC services that kube-apiserver calls.

pub mod options;
