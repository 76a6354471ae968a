//! A version's key as the token's objects, by handles that last as long as the module stays initialised.

use cryptoki::object::ObjectHandle;

/// The objects of one version. AES has one object for both directions, RSA two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct KeyObject {
    /// What kind of key it is.
    pub(crate) kind: KeyKind,
    /// What wraps: the AES key, or the RSA public key. Where the token has no such public key it is the private one, which
    /// wraps nothing ([`KeyObject::only_unwraps`]).
    pub(crate) wraps: ObjectHandle,
    /// What unwraps: the AES key, or the RSA private key.
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
    /// RSA with a modulus of so many bits: 2048 to 4096.
    Rsa {
        /// Bits of the modulus.
        bits: u32,
    },
}
