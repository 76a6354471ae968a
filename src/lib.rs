//! dekhand: a Kubernetes KMS provider plugin whose root key stays in a PKCS#11 token, or in a file.
//!
//! The crate is layered into floors. The modules below are listed from the lowest floor up; a module imports only from
//! floors below its own (`tests/architecture/main.rs` enforces this). The rest of the ground may also use `secret` and `clock`.

// Ground: modules that every floor may use.
pub mod backoff;
pub mod clock;
pub mod files;
pub mod hardening;
pub mod health;
pub mod manual;
pub mod proto;
pub mod secret;
pub mod telemetry;

// Encryption suites and key derivation.
pub mod crypto;

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
