//! A token for tests, with a switch for each way in which tokens differ, violate the standard and fail.

use std::cell::Cell;
use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use sha2::Digest as _;
use sha2::Sha512;

use crate::secret::random_bytes;
use crate::token::error::TokenError;
use crate::token::key_object::KeyKind;
use crate::token::params::CipherParams;
use crate::token::params::GcmIv;
use crate::token::params::GcmMessage;
use crate::token::params::OaepHash;
use crate::token::return_value::ReturnValue;
use crate::token::wrap::cipher::TokenCipher;

/// The token's support of AES-GCM.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gcm {
    /// None.
    None,
    /// With the caller's IV.
    Caller,
    /// With the caller's IV, and with an IV of zeros if the caller gives none (SoftHSM).
    CallerOrZeros,
    /// Only without the caller's IV, and then with zeros.
    Zeros,
    /// With its own IV, written over zeros (AWS CloudHSM).
    Buffer,
    /// The same, from a counter that begins anew in each session.
    BufferCounted,
    /// The same as `Buffer`, but the IV is not returned.
    BufferUntold,
    /// With its own IV of this length, appended, if the caller gives none (Luna).
    Appended(usize),
    /// With its own IV of this length, appended, if the caller gives 12 bytes (`ProtectServer`).
    Replaced(usize),
    /// Only by messages, with the token's IVs.
    Messages,
    /// Only by messages, with the caller's IVs.
    CallerMessages,
    /// Ignores the tag.
    AnyTag,
    /// Ignores the associated data.
    NoAssociatedData,
}

/// The switches of a token.
#[derive(Clone, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch of its own")]
pub(super) struct Quirks {
    pub(super) kind: KeyKind,
    pub(super) gcm: Gcm,
    pub(super) kwp: bool,
    pub(super) cbc: bool,
    /// CBC returns its input.
    pub(super) naked: bool,
    /// CBC ignores its IV.
    pub(super) cbc_without_iv: bool,
    pub(super) oaep_sha256: bool,
    /// OAEP reports the size of the output buffer (tpm2-pkcs11).
    pub(super) oaep_fills_room: bool,
    /// Operations, counted from 0, that fail with this value.
    pub(super) hiccup: Option<(std::ops::Range<usize>, ReturnValue)>,
}

/// A token.
#[derive(Debug)]
pub(super) struct Fake {
    quirks: Quirks,
    /// The plaintexts, by all that is needed to decrypt them.
    encrypted: RefCell<HashMap<Vec<u8>, Vec<u8>>>,
    operations: Cell<usize>,
    /// The IVs of the last session.
    counter: Cell<u8>,
}

/// A session of it, which is unusable after a failed operation.
#[derive(Debug)]
struct FakeSession {
    token: Rc<Fake>,
    spoilt: Cell<bool>,
}

impl Fake {
    /// A token with an AES key and SoftHSM's mechanisms, but without its NULL IV.
    pub(super) fn aes() -> Quirks {
        Quirks {
            kind: KeyKind::Aes256,
            gcm: Gcm::Caller,
            kwp: false,
            cbc: true,
            naked: false,
            cbc_without_iv: false,
            oaep_sha256: true,
            oaep_fills_room: false,
            hiccup: None,
        }
    }

    pub(super) fn new(quirks: Quirks) -> Rc<Self> {
        Rc::new(Self {
            quirks,
            encrypted: RefCell::default(),
            operations: Cell::new(0),
            counter: Cell::new(0),
        })
    }

    pub(super) fn operations(&self) -> usize {
        self.operations.get()
    }

    pub(super) fn open(self: &Rc<Self>) -> Box<dyn TokenCipher> {
        self.counter.set(0);
        Box::new(FakeSession {
            token: Rc::clone(self),
            spoilt: Cell::new(false),
        })
    }

    /// A pseudorandom ciphertext, by which `decrypt` finds the plaintext.
    fn encrypt(&self, what: &str, iv: &[u8], associated_data: &[u8], plaintext: &[u8], length: usize) -> Vec<u8> {
        let mut ciphertext = Vec::new();
        while ciphertext.len() < length {
            let mut hash = Sha512::new();
            for part in [what.as_bytes(), iv, associated_data, plaintext, &ciphertext] {
                hash.update(part.len().to_le_bytes());
                hash.update(part);
            }
            ciphertext.extend_from_slice(&hash.finalize());
        }
        ciphertext.truncate(length);
        let name = name(what, iv, associated_data, &ciphertext);
        self.encrypted.borrow_mut().insert(name, plaintext.to_vec());
        ciphertext
    }

    fn decrypt(&self, what: &str, iv: &[u8], associated_data: &[u8], ciphertext: &[u8]) -> Result<Vec<u8>, TokenError> {
        let name = name(what, iv, associated_data, ciphertext);
        // SoftHSM's return value.
        let bad = || TokenError::call("C_Decrypt", ReturnValue::GENERAL_ERROR);
        self.encrypted.borrow().get(&name).cloned().ok_or_else(bad)
    }

    fn begin(&self) -> Result<(), TokenError> {
        let number = self.operations.replace(self.operations.get() + 1);
        match &self.quirks.hiccup {
            Some((when, value)) if when.contains(&number) => Err(TokenError::call("C_EncryptInit", *value)),
            _ => Ok(()),
        }
    }

    fn encrypt_by(&self, mechanism: CipherParams<'_>, plaintext: &[u8], room: usize) -> Result<Vec<u8>, TokenError> {
        let quirks = &self.quirks;
        match mechanism {
            CipherParams::AesGcm { iv, associated_data } => self.encrypt_gcm(iv, associated_data, plaintext),
            CipherParams::AesKwp if quirks.kwp => Ok(self.encrypt("kwp", &[], &[], plaintext, 40)),
            CipherParams::AesCbc(_) if quirks.naked => Ok(plaintext.to_vec()),
            CipherParams::AesCbc(_) if quirks.cbc_without_iv => Ok(self.encrypt("cbc", &[], &[], plaintext, 32)),
            CipherParams::AesCbc(iv) if quirks.cbc => Ok(self.encrypt("cbc", &iv, &[], plaintext, 32)),
            CipherParams::RsaOaep(OaepHash::Sha256) if !quirks.oaep_sha256 => {
                Err(TokenError::call("C_EncryptInit", ReturnValue::ARGUMENTS_BAD))
            }
            CipherParams::RsaOaep(_) if quirks.kind != KeyKind::Aes256 => {
                // The random bytes of the padding are part of the ciphertext, so that it can be found again.
                let padding = random_bytes::<32>().unwrap();
                let mut ciphertext = self.encrypt("oaep", &[], &padding, plaintext, 224);
                ciphertext.extend(padding);
                let name = name("oaep", &[], &[], &ciphertext);
                self.encrypted.borrow_mut().insert(name, plaintext.to_vec());
                ciphertext.resize(if quirks.oaep_fills_room { room } else { 256 }, 0);
                Ok(ciphertext)
            }
            _ => Err(no_mechanism()),
        }
    }

    fn encrypt_gcm(&self, iv: GcmIv<'_>, associated_data: &[u8], plaintext: &[u8]) -> Result<Vec<u8>, TokenError> {
        let refused = || Err(TokenError::call("C_EncryptInit", ReturnValue::MECHANISM_PARAM_INVALID));
        let seal = |iv: &[u8]| {
            let associated_data = match self.quirks.gcm {
                Gcm::NoAssociatedData => &[],
                _ => associated_data,
            };
            self.encrypt("gcm", iv, associated_data, plaintext, 48)
        };
        let own = random_bytes::<16>().unwrap();
        let appended = |length: usize| {
            let own = own.get(..length).unwrap();
            [seal(own).as_slice(), own].concat()
        };
        match (self.quirks.gcm, iv) {
            (Gcm::None | Gcm::Messages | Gcm::CallerMessages, _) => Err(no_mechanism()),
            (Gcm::Caller | Gcm::CallerOrZeros | Gcm::AnyTag | Gcm::NoAssociatedData, GcmIv::Buffer(iv)) => Ok(seal(iv)),
            (Gcm::CallerOrZeros | Gcm::Zeros, GcmIv::None { .. }) => Ok(seal(&[0; 16])),
            (Gcm::Buffer, GcmIv::Buffer(iv)) if iv == [0; 12] => {
                iv.copy_from_slice(own.get(..12).unwrap());
                Ok(seal(iv))
            }
            (Gcm::BufferCounted, GcmIv::Buffer(iv)) if iv == [0; 12] => {
                self.counter.set(self.counter.get() + 1);
                iv.fill(self.counter.get());
                Ok(seal(iv))
            }
            (Gcm::BufferUntold, GcmIv::Buffer(_)) => Ok(seal(&own)),
            (Gcm::Appended(length), GcmIv::None { length: wanted }) if wanted == length => Ok(appended(length)),
            (Gcm::Replaced(length), GcmIv::Buffer(iv)) if iv.len() == 12 => Ok(appended(length)),
            _ => refused(),
        }
    }

    fn decrypt_by(&self, mechanism: CipherParams<'_>, ciphertext: &[u8]) -> Result<Vec<u8>, TokenError> {
        match mechanism {
            CipherParams::AesGcm { iv, associated_data } => match (self.quirks.gcm, iv) {
                (Gcm::AnyTag, _) => Ok(vec![7; 32]),
                (Gcm::NoAssociatedData, GcmIv::Buffer(iv)) => self.decrypt("gcm", iv, &[], ciphertext),
                (_, GcmIv::Buffer(iv)) => self.decrypt("gcm", iv, associated_data, ciphertext),
                (_, GcmIv::None { .. }) => Err(no_mechanism()),
            },
            CipherParams::AesKwp => self.decrypt("kwp", &[], &[], ciphertext),
            CipherParams::AesCbc(_) if self.quirks.naked => Ok(ciphertext.to_vec()),
            CipherParams::AesCbc(_) if self.quirks.cbc_without_iv => self.decrypt("cbc", &[], &[], ciphertext),
            CipherParams::AesCbc(iv) => self.decrypt("cbc", &iv, &[], ciphertext),
            CipherParams::RsaOaep(_) => self.decrypt("oaep", &[], &[], ciphertext),
        }
    }
}

fn name(what: &str, iv: &[u8], associated_data: &[u8], ciphertext: &[u8]) -> Vec<u8> {
    [what.as_bytes(), b":", iv, b":", associated_data, b":", ciphertext].concat()
}

fn no_mechanism() -> TokenError {
    TokenError::call("C_EncryptInit", ReturnValue::MECHANISM_INVALID)
}

impl FakeSession {
    fn fill(
        &self,
        output: &mut [u8],
        operation: impl FnOnce(usize) -> Result<Vec<u8>, TokenError>,
    ) -> Result<usize, TokenError> {
        if self.spoilt.replace(true) {
            return Err(TokenError::call("C_EncryptInit", ReturnValue::OPERATION_ACTIVE));
        }
        self.token.begin()?;
        let bytes = operation(output.len())?;
        self.spoilt.set(false);
        output.get_mut(..bytes.len()).unwrap().copy_from_slice(&bytes);
        Ok(bytes.len())
    }
}

impl TokenCipher for FakeSession {
    fn kind(&self) -> KeyKind {
        self.token.quirks.kind
    }

    fn encrypt(&self, mechanism: CipherParams<'_>, plaintext: &[u8], output: &mut [u8]) -> Result<usize, TokenError> {
        self.fill(output, |room| self.token.encrypt_by(mechanism, plaintext, room))
    }

    fn decrypt(&self, mechanism: CipherParams<'_>, ciphertext: &[u8], output: &mut [u8]) -> Result<usize, TokenError> {
        self.fill(output, |_| self.token.decrypt_by(mechanism, ciphertext))
    }

    fn encrypt_message(
        &self,
        message: GcmMessage<'_>,
        plaintext: &[u8],
        output: &mut [u8],
    ) -> Result<usize, TokenError> {
        self.fill(output, |_| {
            match (self.token.quirks.gcm, message.token_makes_iv) {
                (Gcm::Messages, true) => message.iv.copy_from_slice(&random_bytes::<12>().unwrap()),
                (Gcm::CallerMessages, false) => {}
                _ => {
                    return Err(TokenError::call(
                        "C_EncryptMessage",
                        ReturnValue::MECHANISM_PARAM_INVALID,
                    ));
                }
            }
            let mut sealed = self
                .token
                .encrypt("gcm", message.iv, message.associated_data, plaintext, 48);
            message.tag.copy_from_slice(&sealed.split_off(32));
            Ok(sealed)
        })
    }
}
