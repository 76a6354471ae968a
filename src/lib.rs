//! dekhand: a Kubernetes KMS provider plugin whose root key stays in a PKCS#11 token.
//!
//! The crate is built in floors; a module imports only from floors below its own (`tests/floors.rs` holds that):
//! ground (`secret`, `clock`, `backoff`, `files`, `health`, `telemetry`, `proto`), `crypto`, the seam `root_key`, the
//! parts (`envelope`, `backend`, `hardening`), the doors (`listener`, `kms`, `http`), `config`, `app`, `cli`.

pub mod app;
pub mod backend;
pub mod backoff;
pub mod cli;
pub mod clock;
pub mod config;
pub mod crypto;
pub mod envelope;
pub mod files;
pub mod hardening;
pub mod health;
pub mod http;
pub mod kms;
pub mod listener;
pub mod manual;
pub mod proto;
pub mod root_key;
pub mod secret;
pub mod telemetry;
