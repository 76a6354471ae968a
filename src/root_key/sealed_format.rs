//! The sealed format, version 1: the bytes that are stored with every object in etcd.
//!
//! The specification is [`crate::manual::sealed_format`].

use crate::crypto::derive::Purpose;
use crate::crypto::suite::Suite;
use crate::root_key::Wrapped;
use crate::root_key::id::KeyId;
use crate::root_key::id::LONGEST;
use crate::root_key::id::SHORTEST;
use crate::root_key::mechanism::COMMITMENT;
use crate::root_key::mechanism::Mechanism;

/// The number of this format, the first byte of every sealed payload.
pub const FORMAT: u8 = 1;

/// The parts of a sealed payload. A payload that parses is well-formed, but not yet authenticated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed<'a> {
    /// How the payload is sealed.
    pub suite: Suite,
    /// The version that wrapped the data key.
    pub id: KeyId,
    /// How the data key is wrapped.
    pub mechanism: Mechanism,
    /// The wrapped data key without its commitment.
    pub wrap: &'a [u8],
    /// The commitment, for mechanisms that have one.
    pub commitment: Option<&'a [u8; COMMITMENT]>,
    /// Every byte before the nonce or IV.
    pub header: &'a [u8],
    /// Nonce or IV, ciphertext, tag or MAC.
    pub body: &'a [u8],
}

/// Why bytes are not a sealed payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ParseError {
    /// The bytes end too early.
    #[error("it ends within {0}")]
    Truncated(&'static str),
    /// The format of a later release, or not a sealed payload at all.
    #[error("format {0} is unknown to this release")]
    Format(u8),
    /// An unknown suite.
    #[error("suite {0} is unknown to this release")]
    Suite(u8),
    /// An unknown mechanism.
    #[error("wrap mechanism {0} is unknown to this release")]
    Mechanism(u8),
    /// The length is not that of an id.
    #[error("an id has {SHORTEST} to {LONGEST} bytes, not {0}")]
    IdLength(u8),
    /// The mechanism cannot yield a wrapped key of this length.
    #[error("a data key wrapped by {mechanism} does not have {length} bytes")]
    WrapLength {
        /// The mechanism.
        mechanism: Mechanism,
        /// The length found, in bytes.
        length: usize,
    },
    /// The suite cannot yield a body of this length.
    #[error("no payload sealed by suite {suite} has {length} bytes")]
    BodyLength {
        /// The suite's number.
        suite: u8,
        /// The length found, in bytes.
        length: usize,
    },
}

impl<'a> Sealed<'a> {
    /// Parses a sealed payload. Needs no key.
    ///
    /// # Errors
    /// The bytes are not in this format.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let mut rest = bytes;
        let format = take_byte(&mut rest, "the format")?;
        if format != FORMAT {
            return Err(ParseError::Format(format));
        }
        let suite = take_byte(&mut rest, "the suite")?;
        let suite = Suite::from_number(suite).ok_or(ParseError::Suite(suite))?;
        let mechanism = take_byte(&mut rest, "the wrap mechanism")?;
        let mechanism = Mechanism::from_number(mechanism).ok_or(ParseError::Mechanism(mechanism))?;
        let id_length = take_byte(&mut rest, "the length of the id")?;
        let id = take(&mut rest, usize::from(id_length), "the id")?;
        let id = KeyId::try_from(id).map_err(|_| ParseError::IdLength(id_length))?;
        let wrap_length = [
            take_byte(&mut rest, "the length of the wrapped data key")?,
            take_byte(&mut rest, "the length of the wrapped data key")?,
        ];
        let wrap = take(
            &mut rest,
            usize::from(u16::from_be_bytes(wrap_length)),
            "the wrapped data key",
        )?;
        let wrong_length = ParseError::WrapLength {
            mechanism,
            length: wrap.len(),
        };
        let (wrap, commitment) = if mechanism.is_committed() {
            let (wrap, commitment) = wrap.split_last_chunk().ok_or(wrong_length)?;
            (wrap, Some(commitment))
        } else {
            (wrap, None)
        };
        if !mechanism.fits(wrap.len()) {
            return Err(wrong_length);
        }
        if !suite.fits(rest.len()) {
            return Err(ParseError::BodyLength {
                suite: suite.number(),
                length: rest.len(),
            });
        }
        let (header, body) = bytes.split_at(bytes.len() - rest.len());
        Ok(Self {
            suite,
            id,
            mechanism,
            wrap,
            commitment,
            header,
            body,
        })
    }

    /// The wrapped data key, as an unwrap takes it.
    pub fn wrapped(&self) -> Wrapped {
        Wrapped {
            mechanism: self.mechanism,
            bytes: self.wrap.to_vec(),
        }
    }
}

/// The bytes before the nonce or IV: the same for every payload that one data key seals.
pub fn header(suite: Suite, id: &KeyId, wrapped: &Wrapped, commitment: Option<&[u8; COMMITMENT]>) -> Vec<u8> {
    let commitment = commitment.map_or(&[][..], |commitment| commitment);
    // An id has at most 32 bytes, and a wrapped key at most 512 + 16: both lengths fit their fields.
    let id_length = u8::try_from(id.as_bytes().len()).unwrap_or(u8::MAX);
    let wrap_length = u16::try_from(wrapped.bytes.len() + commitment.len()).unwrap_or(u16::MAX);
    [
        &[FORMAT, suite.number(), wrapped.mechanism.number(), id_length],
        id.as_bytes(),
        &wrap_length.to_be_bytes(),
        &wrapped.bytes,
        commitment,
    ]
    .concat()
}

/// Associated data of a sealed payload: the length of the purpose, the purpose, every byte before the nonce or IV.
pub fn associated_data(purpose: Purpose, header: &[u8]) -> Vec<u8> {
    let purpose = purpose.as_str().as_bytes();
    // Purposes are constants of this crate, a few bytes long.
    let length = u8::try_from(purpose.len()).unwrap_or(u8::MAX);
    [&[length], purpose, header].concat()
}

/// The input of a commitment: format, mechanism, length of the id, id, and the wrap (IV and ciphertext).
pub fn committed(id: &KeyId, wrapped: &Wrapped) -> Vec<u8> {
    let id_length = u8::try_from(id.as_bytes().len()).unwrap_or(u8::MAX);
    [
        &[FORMAT, wrapped.mechanism.number(), id_length],
        id.as_bytes(),
        &wrapped.bytes,
    ]
    .concat()
}

fn take<'a>(rest: &mut &'a [u8], length: usize, what: &'static str) -> Result<&'a [u8], ParseError> {
    let (taken, behind) = rest.split_at_checked(length).ok_or(ParseError::Truncated(what))?;
    *rest = behind;
    Ok(taken)
}

fn take_byte(rest: &mut &[u8], what: &'static str) -> Result<u8, ParseError> {
    let (&byte, behind) = rest.split_first().ok_or(ParseError::Truncated(what))?;
    *rest = behind;
    Ok(byte)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sealed_with(suite: Suite, mechanism: Mechanism, wrap_length: usize, body_length: usize) -> Vec<u8> {
        let id = KeyId::try_from([5; 16].as_slice()).unwrap();
        let wrapped = Wrapped {
            mechanism,
            bytes: vec![6; wrap_length],
        };
        let commitment = mechanism.is_committed().then_some(&[7; COMMITMENT]);
        [header(suite, &id, &wrapped, commitment), vec![8; body_length]].concat()
    }

    const WRAPS: [(Mechanism, usize); 6] = [
        (Mechanism::AesGcm, 60),
        (Mechanism::AesGcmTokenIv, 64),
        (Mechanism::AesKwp, 40),
        (Mechanism::AesCbc, 48),
        (Mechanism::RsaOaepSha256, 256),
        (Mechanism::RsaOaepSha1, 512),
    ];

    #[test]
    fn the_sizes_of_the_design_hold() {
        // For a payload of 32 bytes; includes the key_id of 32 hexadecimal digits.
        let stored =
            |suite: Suite, mechanism, wrap| sealed_with(suite, mechanism, wrap, suite.sealed_length(32)).len() + 32;
        assert_eq!(stored(Suite::Aes256Gcm, Mechanism::AesGcm, 60), 174);
        assert_eq!(stored(Suite::Aes256Gcm, Mechanism::AesGcmTokenIv, 64), 178);
        assert!(
            WRAPS[..4]
                .iter()
                .all(|&(mechanism, wrap)| stored(Suite::Aes256Gcm, mechanism, wrap) <= 178)
        );
        assert!(
            WRAPS[..4]
                .iter()
                .all(|&(mechanism, wrap)| stored(Suite::A256CbcHs512, mechanism, wrap) <= 214)
        );
        assert!(stored(Suite::A256CbcHs512, Mechanism::RsaOaepSha1, 512) <= 680);
    }

    #[test]
    fn every_truncation_is_refused() {
        for suite in [Suite::Aes256Gcm, Suite::A256CbcHs512] {
            for (mechanism, wrap) in WRAPS {
                // The shortest payload, so that no shorter body can be valid.
                let whole = sealed_with(suite, mechanism, wrap, suite.sealed_length(1));
                assert!(Sealed::parse(&whole).is_ok());
                for length in 0..whole.len() {
                    assert!(
                        Sealed::parse(&whole[..length]).is_err(),
                        "{suite:?} {mechanism} cut to {length}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_later_releases_may_write_is_named_and_refused() {
        let whole = sealed_with(Suite::Aes256Gcm, Mechanism::AesGcm, 60, 60);
        let with = |location: usize, byte: u8| {
            let mut bytes = whole.clone();
            bytes[location] = byte;
            Sealed::parse(&bytes).map(drop)
        };
        assert_eq!(with(0, 2), Err(ParseError::Format(2)));
        assert_eq!(with(1, 3), Err(ParseError::Suite(3)));
        assert_eq!(with(2, 7), Err(ParseError::Mechanism(7)));
        assert_eq!(with(3, 7), Err(ParseError::IdLength(7)));
        assert_eq!(with(3, 33), Err(ParseError::IdLength(33)));
    }

    proptest! {
        #[test]
        fn no_input_panics_the_parser(bytes in proptest::collection::vec(any::<u8>(), 0..700)) {
            Sealed::parse(&bytes).ok();
        }

        #[test]
        fn what_parses_is_rebuilt_byte_for_byte(
            suite in prop_oneof![Just(Suite::Aes256Gcm), Just(Suite::A256CbcHs512)],
            wrap in 0_usize..6, payload in 1_usize..200,
        ) {
            let (mechanism, wrap) = WRAPS[wrap];
            let whole = sealed_with(suite, mechanism, wrap, suite.sealed_length(payload));
            let parsed = Sealed::parse(&whole).unwrap();
            let rebuilt = [header(parsed.suite, &parsed.id, &parsed.wrapped(), parsed.commitment), parsed.body.to_vec()];
            prop_assert_eq!(parsed.header, rebuilt[0].as_slice());
            prop_assert_eq!(rebuilt.concat(), whole);
        }
    }
}
