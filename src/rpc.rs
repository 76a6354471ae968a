//! gRPC beside the generated code: a client connection, and the names of codes.

pub mod client;
pub mod code;
