//! Keys and discovery with SoftHSM, in a process of their own.
