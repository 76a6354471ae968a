//! What callers send, mended.
mod placeholder_none {}
