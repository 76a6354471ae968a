//! The places where root keys live.

pub mod keyring;
pub mod pkcs11;
