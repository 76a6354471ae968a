//! dekhand: a Kubernetes KMS provider plugin whose root key stays in a PKCS#11 token, or in a file.
//!
//! The crate is layered into floors. The modules below are listed from the lowest floor up; a module imports only from
//! floors below its own (`tests/architecture/main.rs` enforces this). The rest of the ground may also use `secret`,
//! `clock` and `caller`.

// Ground: modules that every floor may use.
pub mod backoff;
pub mod caller;
pub mod clock;
pub mod files;
pub mod hardening;
pub mod health;
pub mod manual;
pub mod proto;
pub mod quota;
pub mod secret;
pub mod telemetry;

// Encryption suites and key derivation.
pub mod crypto;

// The client of the KMS protocols, and the names of gRPC codes.
pub mod rpc;

// The interface of root keys: versions, wrap, unwrap, and the rules of rotation.
pub mod root_key;

// PKCS#11.
pub mod token;

// Parts, which do not import each other.
pub mod backend;
pub mod envelope;
pub mod listener;

// Entry points for callers and operators.
pub mod http;
pub mod kms;

pub mod config;

pub mod app;

pub mod cli;
