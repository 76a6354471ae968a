//! dekhand: a Kubernetes KMS provider plugin whose root key stays in a PKCS#11 token.
//!
//! The crate is built in floors, and the modules below stand in their order: a module imports only from floors below its
//! own (`tests/floors.rs` holds that).

// Ground: what every floor may use.
pub mod backoff;
pub mod clock;
pub mod files;
pub mod hardening;
pub mod health;
pub mod manual;
pub mod proto;
pub mod secret;
pub mod telemetry;

// Suites of encryption, and the derivation of their keys.
pub mod crypto;

// The seam between data keys and what wraps them: versions, wrap, unwrap, the rules of rotation.
pub mod root_key;

// PKCS#11.
pub mod token;

// Parts, which do not know each other.
pub mod backend;
pub mod envelope;
pub mod listener;

// Doors for callers and operators.
pub mod http;
pub mod kms;

pub mod config;

pub mod app;

pub mod cli;
