//! Tests one wrap method with random keys: correct calls must succeed, and forgeries must fail.

use std::time::Duration;
use std::time::Instant;

use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::Mechanism;
use crate::secret::Key;
use crate::token::error::TokenError;
use crate::token::wrap::WrapMethod;
use crate::token::wrap::cipher::TokenCipher;
use crate::token::wrap::unwrap_with;

/// The durations, if the test passed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Good {
    /// One wrap.
    pub(super) wrap: Duration,
    /// One unwrap.
    pub(super) unwrap: Duration,
}

/// Why a wrap method cannot be used.
#[derive(Debug)]
pub(super) enum SelfTestFlaw {
    /// No session for the test, which says nothing about the method.
    Unopened(TokenError),
    /// The token refused a correct call: it does not support the mechanism, or it fails.
    Refused(TokenError),
    /// The token returned a wrong result.
    Wrong(String),
}

/// Opens a session with the key for each part of a test: a failed operation can leave its session unusable.
pub(super) type Opener<'a> = dyn FnMut() -> Result<Box<dyn TokenCipher + 'a>, TokenError> + 'a;

/// Wraps and unwraps, and tries forgeries, which must fail.
pub(super) fn check(method: WrapMethod, open: &mut Opener<'_>, id: &KeyId) -> Result<Good, SelfTestFlaw> {
    let mut bench = Bench { open, cipher: None };
    let data_key = Key::random().map_err(|error| SelfTestFlaw::Unopened(TokenError::Refused(error.to_string())))?;
    let wrap = |cipher: &dyn TokenCipher| method.wrap_with(cipher, id, &data_key);

    let begin = Instant::now();
    let first = bench.run(wrap)?;
    let wrap_time = begin.elapsed();
    // A token may take its IVs from a counter that begins anew in each session.
    bench.cipher = None;
    differ(&first, &bench.run(wrap)?, &data_key)?;
    let begin = Instant::now();
    bench.opens(&first, id, &data_key)?;
    let unwrap_time = begin.elapsed();

    let forgeries = forgeries(&first);
    for (what, forged) in &forgeries {
        bench.refuses(what, forged, id)?;
    }
    if matches!(method, WrapMethod::AesGcm(_)) {
        bench.refuses("other associated data", &first, &other(id))?;
    }
    if !forgeries.is_empty() {
        // Without this the forgeries may have failed only because the token did.
        bench.opens(&first, id, &data_key)?;
    }
    Ok(Good {
        wrap: wrap_time,
        unwrap: unwrap_time,
    })
}

/// The current session, and the function that opens another one.
struct Bench<'a, 'b> {
    open: &'b mut Opener<'a>,
    cipher: Option<Box<dyn TokenCipher + 'a>>,
}

impl Bench<'_, '_> {
    /// Runs a call that should succeed; a session in which it failed is closed.
    fn run<T>(&mut self, operation: impl FnOnce(&dyn TokenCipher) -> Result<T, TokenError>) -> Result<T, SelfTestFlaw> {
        let cipher = match self.cipher.take() {
            Some(cipher) => cipher,
            None => (self.open)().map_err(SelfTestFlaw::Unopened)?,
        };
        let done = operation(&*cipher).map_err(|error| match error {
            TokenError::Misbehaved(what) => SelfTestFlaw::Wrong(what),
            other => SelfTestFlaw::Refused(other),
        })?;
        self.cipher = Some(cipher);
        Ok(done)
    }

    fn opens(&mut self, wrapped: &Wrapped, id: &KeyId, expected: &Key) -> Result<(), SelfTestFlaw> {
        let data_key = self.run(|cipher| unwrap_with(cipher, id, wrapped))?;
        if data_key.same_as(expected) {
            Ok(())
        } else {
            Err(SelfTestFlaw::Wrong(
                "unwrapped another key than it had wrapped".to_owned(),
            ))
        }
    }

    /// A forgery must not open, not even to another key.
    fn refuses(&mut self, what: &str, forged: &Wrapped, id: &KeyId) -> Result<(), SelfTestFlaw> {
        match self.run(|cipher| unwrap_with(cipher, id, forged)) {
            Ok(_) => Err(SelfTestFlaw::Wrong(format!("unwrapped a key with {what}"))),
            Err(unopened @ SelfTestFlaw::Unopened(_)) => Err(unopened),
            Err(SelfTestFlaw::Refused(_) | SelfTestFlaw::Wrong(_)) => Ok(()),
        }
    }
}

/// Two wraps of one key must differ completely if there is an IV or padding: a token that is given no IV may silently
/// use a constant one.
fn differ(first: &Wrapped, second: &Wrapped, data_key: &Key) -> Result<(), SelfTestFlaw> {
    let iv = iv_length(first.mechanism);
    let halves = |wrapped: &Wrapped| {
        let (iv, ciphertext) = wrapped.bytes.split_at_checked(iv).unwrap_or_default();
        (iv.to_vec(), ciphertext.to_vec())
    };
    let ((one_iv, one), (other_iv, other)) = (halves(first), halves(second));
    if iv > 0 && one_iv == other_iv {
        return Err(SelfTestFlaw::Wrong("used an IV twice".to_owned()));
    }
    if one == other && first.mechanism != Mechanism::AesKwp {
        return Err(SelfTestFlaw::Wrong(
            "wrapped a key to the same ciphertext twice".to_owned(),
        ));
    }
    let naked = data_key.expose().as_slice();
    if one.windows(naked.len()).any(|window| window == naked) {
        return Err(SelfTestFlaw::Wrong(
            "returned a key as it is, for its ciphertext".to_owned(),
        ));
    }
    Ok(())
}

/// The forgeries for mechanisms with integrity protection; the others get theirs from the envelope.
fn forgeries(wrapped: &Wrapped) -> Vec<(&'static str, Wrapped)> {
    let iv = iv_length(wrapped.mechanism);
    let flipped = |at: usize| {
        let mut forged = wrapped.clone();
        if let Some(byte) = forged.bytes.get_mut(at) {
            *byte ^= 1;
        }
        forged
    };
    match wrapped.mechanism {
        Mechanism::AesGcm | Mechanism::AesGcmTokenIv => vec![
            ("a changed IV", flipped(0)),
            ("a changed ciphertext", flipped(iv)),
            ("a changed tag", flipped(wrapped.bytes.len() - 1)),
        ],
        Mechanism::AesKwp => vec![
            ("a changed first byte", flipped(0)),
            ("a changed last byte", flipped(wrapped.bytes.len() - 1)),
        ],
        Mechanism::AesCbc | Mechanism::RsaOaepSha256 | Mechanism::RsaOaepSha1 => Vec::new(),
    }
}

fn iv_length(mechanism: Mechanism) -> usize {
    match mechanism {
        Mechanism::AesGcm => 12,
        Mechanism::AesGcmTokenIv | Mechanism::AesCbc => 16,
        Mechanism::AesKwp | Mechanism::RsaOaepSha256 | Mechanism::RsaOaepSha1 => 0,
    }
}

/// Another id of the same length.
fn other(id: &KeyId) -> KeyId {
    let mut bytes = id.as_bytes().to_vec();
    if let Some(byte) = bytes.first_mut() {
        *byte ^= 1;
    }
    KeyId::try_from(bytes.as_slice()).unwrap_or_else(|_| id.clone())
}
