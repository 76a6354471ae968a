//! A data key that this process made: wrapped by a root key, proven by an unwrap, used up to its limits.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::crypto::NotAuthentic;
use crate::crypto::commitment;
use crate::crypto::derive::Purpose;
use crate::crypto::derive::Use;
use crate::crypto::derive::derive;
use crate::crypto::suite::Cipher;
use crate::crypto::suite::Suite;
use crate::envelope::error::EnvelopeError;
use crate::envelope::policy::MOST_BLOCKS;
use crate::envelope::policy::MOST_USES;
use crate::envelope::policy::Policy;
use crate::root_key::RootKey;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::error::Kind;
use crate::root_key::id::KeyId;
use crate::root_key::sealed_format;
use crate::root_key::sealed_format::Sealed;
use crate::root_key::waiters::Waiters;
use crate::secret::Key;

/// The limit of a sealed payload of KMS v2, in bytes: "less than 1 kB" in the proto, and kube-apiserver refuses more
/// than 1024.
pub(crate) const LONGEST_SEALED: usize = 1023;

/// The length of kube-apiserver's payload. A root key whose wraps leave no room for it is useless.
const USUAL_PAYLOAD: usize = 32;

/// A data key that may encrypt.
#[derive(Debug)]
pub(crate) struct DataKey {
    pub(crate) id: KeyId,
    pub(crate) suite: Suite,
    /// The cache key of this data key.
    pub(crate) header: Box<[u8]>,
    pub(crate) cipher: Arc<Cipher>,
    associated_data: Box<[u8]>,
    key: Key,
    wrapped: Wrapped,
    uses: AtomicU64,
    /// Blocks of 16 bytes in the payloads so far. A started block counts as a whole one.
    blocks: AtomicU64,
    pub(crate) born: Duration,
}

/// How much of a data key's limits is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spent {
    /// Less than half of each limit is used.
    No,
    /// Half of a limit is reached: the next data key should be made.
    Half,
    /// A limit of the configuration is reached.
    Soft,
    /// The limit of 2^32 payloads or of 64 GiB is reached: the key never seals again.
    Hard,
}

impl DataKey {
    /// Makes a random data key, wraps it under a version, unwraps and compares it, and tries it on a payload.
    ///
    /// # Errors
    /// Those of the root key; [`Kind::Corruption`] when the round trip does not match; [`Kind::Refusal`] when the
    /// sealed payload would be too long for kube-apiserver.
    pub(crate) async fn make(
        root_key: &dyn RootKey,
        id: &KeyId,
        purpose: Purpose,
        suite: Suite,
        now: Duration,
        waiters: &Waiters,
    ) -> Result<Self, Error> {
        let key = Key::random().map_err(|error| Error::new(Kind::Outage, "cannot make a data key").because(error))?;
        let wrapped = root_key.wrap(id, &key, waiters).await?;
        let mechanism = wrapped.mechanism;
        if !mechanism.fits(wrapped.bytes.len()) {
            let message = format!(
                "version {id} wrapped a data key by {mechanism} into {} bytes, an impossible length",
                wrapped.bytes.len()
            );
            return Err(Error::new(Kind::Corruption, message));
        }
        prove(root_key, id, &key, &wrapped, waiters).await?;
        let commitment = mechanism.is_committed().then(|| {
            let commit_key = derive(&key, purpose, Use::Commit);
            commitment::commit(&commit_key, &[&sealed_format::committed(id, &wrapped)])
        });
        let header = sealed_format::header(suite, id, &wrapped, commitment.as_ref());
        let length = header.len() + suite.sealed_length(USUAL_PAYLOAD);
        if length > LONGEST_SEALED {
            let message =
                format!("a payload sealed under version {id} would have {length} bytes; kube-apiserver accepts fewer");
            return Err(Error::new(Kind::Refusal, message));
        }
        let made = Self {
            id: id.clone(),
            suite,
            associated_data: sealed_format::associated_data(purpose, &header).into(),
            header: header.into(),
            cipher: Arc::new(Cipher::of(suite, &key, purpose)),
            key,
            wrapped,
            uses: AtomicU64::new(0),
            blocks: AtomicU64::new(0),
            born: now,
        };
        made.try_on_a_payload()?;
        Ok(made)
    }

    /// Unwraps this key once more, for a probe.
    ///
    /// # Errors
    /// Those of the root key; [`Kind::Corruption`] when another key comes back.
    pub(crate) async fn probe(&self, root_key: &dyn RootKey) -> Result<(), Error> {
        prove(root_key, &self.id, &self.key, &self.wrapped, &Waiters::of_daemon()).await
    }

    /// Counts one payload of this many bytes. Callers hold the lock of the state, so that no two of them share what is
    /// left.
    pub(crate) fn use_once(&self, length: usize) {
        self.uses.fetch_add(1, Ordering::Relaxed);
        self.blocks.fetch_add(blocks(length), Ordering::Relaxed);
    }

    /// Ends this key if a payload of this many bytes would exceed 64 GiB.
    pub(crate) fn end_unless_room(&self, length: usize) {
        let used = self.blocks.load(Ordering::Relaxed);
        if used.saturating_add(blocks(length)) > MOST_BLOCKS {
            self.blocks.store(MOST_BLOCKS, Ordering::Relaxed);
        }
    }

    /// How much of the limits is used.
    pub(crate) fn spent(&self, policy: &Policy, now: Duration) -> Spent {
        let uses = self.uses.load(Ordering::Relaxed);
        let blocks = self.blocks.load(Ordering::Relaxed);
        let age = now.saturating_sub(self.born);
        let is_half_used = uses >= policy.max_uses.div_ceil(2) || policy.max_uses == 1;
        if uses >= MOST_USES || blocks >= MOST_BLOCKS {
            Spent::Hard
        } else if uses >= policy.max_uses || age >= policy.max_age {
            Spent::Soft
        } else if is_half_used || blocks >= MOST_BLOCKS / 2 || age >= policy.max_age / 2 {
            Spent::Half
        } else {
            Spent::No
        }
    }

    /// Seals a payload.
    ///
    /// # Errors
    /// The payload is empty or too long, or there is no randomness.
    pub(crate) fn seal(&self, payload: &[u8], limit: usize) -> Result<Vec<u8>, EnvelopeError> {
        let length = self.header.len() + self.suite.sealed_length(payload.len());
        if payload.is_empty() || length > limit {
            return Err(EnvelopeError::PayloadLength {
                length: payload.len(),
                limit,
            });
        }
        let mut sealed = Vec::with_capacity(length);
        sealed.extend_from_slice(&self.header);
        self.cipher.seal(&self.associated_data, payload, &mut sealed)?;
        Ok(sealed)
    }

    /// Seals and opens a payload: a data key enters the cache only after a payload has opened under it.
    fn try_on_a_payload(&self) -> Result<(), Error> {
        let does_not_open = || {
            Error::new(
                Kind::Corruption,
                "a new data key does not open the payload that it sealed",
            )
        };
        let payload =
            Key::random().map_err(|error| Error::new(Kind::Outage, "cannot try a data key").because(error))?;
        let mut sealed = Vec::new();
        self.cipher
            .seal(&self.associated_data, payload.expose(), &mut sealed)
            .map_err(|_| does_not_open())?;
        let opened = self
            .cipher
            .open(&self.associated_data, &sealed)
            .map_err(|_| does_not_open())?;
        let same = Key::copied_from(&opened).is_some_and(|opened| opened.same_as(&payload));
        if same { Ok(()) } else { Err(does_not_open()) }
    }
}

#[cfg(test)]
impl DataKey {
    /// Pretends that this many payloads were sealed: 2^32 take too long.
    pub(crate) fn set_uses(&self, uses: u64) {
        self.uses.store(uses, Ordering::Relaxed);
    }

    /// Pretends that so much payload was sealed, in blocks of 16 bytes.
    pub(crate) fn set_blocks(&self, blocks: u64) {
        self.blocks.store(blocks, Ordering::Relaxed);
    }
}

/// The blocks of 16 bytes in a payload of this many bytes.
fn blocks(length: usize) -> u64 {
    u64::try_from(length.div_ceil(16)).unwrap_or(u64::MAX)
}

async fn prove(
    root_key: &dyn RootKey,
    id: &KeyId,
    key: &Key,
    wrapped: &Wrapped,
    waiters: &Waiters,
) -> Result<(), Error> {
    let corrupt = || {
        Error::new(
            Kind::Corruption,
            format!("version {id} does not unwrap a data key that it has wrapped"),
        )
    };
    match root_key.unwrap(id, wrapped, waiters).await {
        Ok(unwrapped) if unwrapped.same_as(key) => Ok(()),
        Ok(_) => Err(corrupt()),
        Err(error) if error.kind() == Kind::BadInput => Err(corrupt().because(error)),
        Err(error) => Err(error),
    }
}

/// The cipher of an unwrapped data key, after a check of the commitment. It opens payloads and never seals.
///
/// # Errors
/// The commitment does not match this key.
pub(crate) fn cipher_of_unwrapped(key: &Key, sealed: &Sealed<'_>, purpose: Purpose) -> Result<Cipher, NotAuthentic> {
    if let Some(commitment) = sealed.commitment {
        let commit_key = derive(key, purpose, Use::Commit);
        commitment::verify(
            &commit_key,
            &[&sealed_format::committed(&sealed.id, &sealed.wrapped())],
            commitment,
        )?;
    }
    Ok(Cipher::of(sealed.suite, key, purpose))
}
