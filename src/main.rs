//! The `dekhand` program.

fn main() {}
