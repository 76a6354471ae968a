//! A root key that encrypts and decrypts: in a session of a token, or in a test.

use std::borrow::Borrow;

use cryptoki::session::Session;

use crate::token::error::TokenError;
use crate::token::key_object::KeyKind;
use crate::token::key_object::KeyObject;
use crate::token::params::CipherParams;
use crate::token::params::GcmMessage;
use crate::token::raw::Calls;

/// The three operations. Each writes to the caller's output and returns the number of bytes written.
pub(super) trait TokenCipher {
    /// The kind of the key.
    fn kind(&self) -> KeyKind;

    /// `C_EncryptInit` and one `C_Encrypt`.
    fn encrypt(&self, mechanism: CipherParams<'_>, plaintext: &[u8], output: &mut [u8]) -> Result<usize, TokenError>;

    /// `C_DecryptInit` and one `C_Decrypt`.
    fn decrypt(&self, mechanism: CipherParams<'_>, ciphertext: &[u8], output: &mut [u8]) -> Result<usize, TokenError>;

    /// `C_EncryptMessage` for one message.
    fn encrypt_message(
        &self,
        message: GcmMessage<'_>,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, TokenError>;
}

/// A key in a session, borrowed or owned.
#[derive(Debug)]
pub(super) struct InSession<'a, S> {
    calls: &'a Calls,
    session: S,
    key: KeyObject,
}

impl<'a, S: Borrow<Session>> InSession<'a, S> {
    pub(super) fn new(calls: &'a Calls, session: S, key: KeyObject) -> Self {
        Self { calls, session, key }
    }
}

impl<S: Borrow<Session>> TokenCipher for InSession<'_, S> {
    fn kind(&self) -> KeyKind {
        self.key.kind
    }

    fn encrypt(&self, mechanism: CipherParams<'_>, plaintext: &[u8], output: &mut [u8]) -> Result<usize, TokenError> {
        if self.key.only_unwraps() {
            return Err(TokenError::Refused(
                "the RSA key only unwraps: the token has no public key of its own with the same CKA_ID".to_owned(),
            ));
        }
        let session = self.session.borrow();
        self.calls
            .encrypt(session, self.key.wraps, mechanism, plaintext, output)
    }

    fn decrypt(&self, mechanism: CipherParams<'_>, ciphertext: &[u8], output: &mut [u8]) -> Result<usize, TokenError> {
        let session = self.session.borrow();
        self.calls
            .decrypt(session, self.key.unwraps, mechanism, ciphertext, output)
    }

    fn encrypt_message(
        &self,
        message: GcmMessage<'_>,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, TokenError> {
        let session = self.session.borrow();
        self.calls
            .encrypt_message(session, self.key.wraps, message, plaintext, output)
    }
}
