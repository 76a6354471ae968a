//! Seals payloads under data keys of its own, and opens them.

pub mod policy;
