//! The token's objects of one version, by handles that stay valid while the module is initialised.

use cryptoki::object::ObjectHandle;

/// The objects of one version. AES has one object for both directions, RSA two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyObject {
    /// The kind of the key.
    pub(crate) kind: KeyKind,
    /// The object that wraps: the AES key, or the RSA public key. If the token has no such public key, it is the
    /// private key, which cannot wrap ([`KeyObject::only_unwraps`]).
    pub(crate) wraps: ObjectHandle,
    /// The object that unwraps: the AES key, or the RSA private key.
    pub(crate) unwraps: ObjectHandle,
}

impl KeyObject {
    /// Whether the token lacks the RSA key's public half.
    pub(crate) fn only_unwraps(&self) -> bool {
        matches!(self.kind, KeyKind::Rsa { .. }) && self.wraps == self.unwraps
    }
}

/// The kinds of keys that can be a root key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum KeyKind {
    /// AES with 256 bits.
    Aes256,
    /// RSA with a modulus of 2048 to 4096 bits.
    Rsa {
        /// Bits of the modulus.
        bits: u32,
    },
}
