//! The manual for readers of the code: the sealed format, the threat model, and decisions with their reasons.

#[doc = include_str!("manual/sealed_format.md")]
pub mod sealed_format {}

#[doc = include_str!("manual/threat_model.md")]
pub mod threat_model {}

#[doc = include_str!("manual/decisions.md")]
pub mod decisions {}
