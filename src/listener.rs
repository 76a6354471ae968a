//! The KMS socket: accepts connections, checks their peers and serves HTTP/2 on them.

pub mod options;
