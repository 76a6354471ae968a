//! Pages for whoever judges dekhand rather than runs it: the sealed format, the threat model, decisions.

#[doc = include_str!("manual/sealed_format.md")]
pub mod sealed_format {}

#[doc = include_str!("manual/threat_model.md")]
pub mod threat_model {}

#[doc = include_str!("manual/decisions.md")]
pub mod decisions {}
