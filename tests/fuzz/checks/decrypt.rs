//! `Decrypt`: opens what was sealed and nothing else, even over a root key that would unwrap anything.
//!
//! An input is a choice among sealed payloads of both suites and all mechanisms, followed by changes to it; or, with the
//! highest choices, the fields of a payload that nobody sealed, so that the fuzzer need not guess an id.

use std::sync::Arc;
use std::sync::LazyLock;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use async_trait::async_trait;
use dekhand::clock::Clock;
use dekhand::clock::Timestamp;
use dekhand::crypto::suite::Suite;
use dekhand::envelope::Envelope;
use dekhand::envelope::Parts;
use dekhand::envelope::Purpose;
use dekhand::envelope::Store;
use dekhand::envelope::policy::Policy;
use dekhand::files::io_thread::FileThread;
use dekhand::root_key::RootKey;
use dekhand::root_key::Wrapped;
use dekhand::root_key::error::Error;
use dekhand::root_key::high_water::HighWaterFile;
use dekhand::root_key::id::KeyId;
use dekhand::root_key::mechanism::Mechanism;
use dekhand::root_key::version::Number;
use dekhand::root_key::version::State;
use dekhand::root_key::version::Version;
use dekhand::root_key::waiters::Waiters;
use dekhand::secret::Key;
use dekhand::telemetry::metrics::Metrics;
use tokio::runtime::Runtime;
use tokio::time::Instant;

const ID: [u8; 16] = [0x1d; 16];
const PAYLOAD: [u8; 32] = [0x42; 32];
const SUITES: [Suite; 2] = [Suite::Aes256Gcm, Suite::A256CbcHs512];

/// A root key that hides a data key a little and authenticates nothing: whatever is refused, the envelope refused.
#[derive(Debug, Default)]
struct Credulous {
    /// Index of the mechanism that it claims to wrap with.
    mechanism: AtomicUsize,
}

/// Bytes before the data key, and behind it, in the layout of a mechanism.
fn around(mechanism: Mechanism) -> (usize, usize) {
    match mechanism {
        Mechanism::AesGcm => (12, 16),
        Mechanism::AesGcmTokenIv => (16, 16),
        Mechanism::AesKwp => (0, 8),
        Mechanism::AesCbc => (16, 0),
        Mechanism::RsaOaepSha256 | Mechanism::RsaOaepSha1 => (0, 256 - 32),
    }
}

#[async_trait]
impl RootKey for Credulous {
    async fn discover(&self) -> Result<Vec<Version>, Error> {
        Ok(vec![Version {
            number: Number::FIRST,
            state: State::ActiveFrom(Timestamp::from_unix(0)),
            id: id(),
        }])
    }

    async fn wrap(&self, _: &KeyId, data_key: &Key, _: &Waiters) -> Result<Wrapped, Error> {
        let mechanism = Mechanism::ALL[self.mechanism.load(Ordering::Relaxed)];
        let (before, behind) = around(mechanism);
        let hidden = data_key.expose().map(|byte| byte ^ 0x5a).to_vec();
        let bytes = [vec![1; before], hidden, vec![2; behind]].concat();
        Ok(Wrapped { mechanism, bytes })
    }

    async fn unwrap(&self, id: &KeyId, wrapped: &Wrapped, _: &Waiters) -> Result<Key, Error> {
        let (before, _) = around(wrapped.mechanism);
        let hidden = wrapped
            .bytes
            .get(before..before + 32)
            .ok_or_else(|| Error::bad_wrap(id))?;
        let bytes: Vec<u8> = hidden.iter().map(|byte| byte ^ 0x5a).collect();
        Key::copied_from(&bytes).ok_or_else(|| Error::bad_wrap(id))
    }
}

fn id() -> KeyId {
    KeyId::try_from(ID.as_slice()).expect("an id of 16 bytes")
}

struct Bench {
    runtime: Runtime,
    envelope: Envelope,
    samples: Vec<Vec<u8>>,
}

static BENCH: LazyLock<Bench> = LazyLock::new(|| {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime");
    let mut samples = Vec::new();
    for suite in SUITES {
        for mechanism in 0..Mechanism::ALL.len() {
            samples.push(runtime.block_on(async {
                let envelope = start(suite, mechanism);
                let sealed = loop {
                    match envelope.encrypt(Purpose::Kms2, &PAYLOAD, Instant::now()).await {
                        Ok(sealed) => break sealed,
                        Err(_) => tokio::time::sleep(Duration::from_millis(1)).await,
                    }
                };
                sealed.bytes
            }));
        }
    }
    let envelope = runtime.block_on(async { start(Suite::default(), 0) });
    runtime.block_on(async {
        while envelope.status().is_err() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    Bench {
        runtime,
        envelope,
        samples,
    }
});

/// An envelope of its own, as every restart makes one.
fn start(suite: Suite, mechanism: usize) -> Envelope {
    let state = tempfile::tempdir().expect("a directory");
    let root_key = Arc::new(Credulous {
        mechanism: AtomicUsize::new(mechanism),
    });
    let envelope = Envelope::new(Parts {
        stores: vec![Store {
            name: "credulous".parse().expect("a name"),
            root_key,
        }],
        purposes: vec![Purpose::Kms2],
        policy: Policy {
            suite,
            ..Policy::default()
        },
        high_water: HighWaterFile::of(state.path()),
        files: FileThread::in_place(),
        clock: Clock::system(),
        metrics: Metrics::new(),
    });
    let running = envelope.clone();
    tokio::spawn(async move {
        let _state = state;
        running.run().await;
    });
    envelope
}

/// Checks one input. Says whether it opens.
pub(crate) fn check(input: &[u8]) -> bool {
    let bench = &*BENCH;
    let Some((choice, rest)) = input.split_first() else {
        return false;
    };
    let sample = bench.samples.get(usize::from(*choice));
    let sealed = match sample {
        Some(sample) => changed(sample.clone(), rest),
        None => forged(*choice, rest),
    };
    let opened = bench.runtime.block_on(async {
        let deadline = Instant::now();
        bench.envelope.decrypt(Purpose::Kms2, &sealed, None, deadline).await
    });
    if sample == Some(&sealed) {
        assert_eq!(opened.expect("what was sealed opens").as_slice(), PAYLOAD);
    } else {
        assert!(opened.is_err(), "opened what nobody sealed");
    }
    sample == Some(&sealed)
}

/// Applies changes of three bytes: place (two), the mask to XOR there; a mask of zero cuts there and appends the rest.
fn changed(mut sealed: Vec<u8>, changes: &[u8]) -> Vec<u8> {
    let mut rest = changes;
    while let Some(([high, low, mask], behind)) = rest.split_first_chunk().map(|(change, rest)| (*change, rest)) {
        rest = behind;
        let place = usize::from(u16::from_be_bytes([high, low])) % (sealed.len() + 1);
        match sealed.get_mut(place) {
            Some(byte) if mask != 0 => *byte ^= mask,
            _ => {
                sealed.truncate(place);
                sealed.extend_from_slice(rest);
                return sealed;
            }
        }
    }
    sealed
}

/// A payload with a right id, whose other fields the input decides.
fn forged(choice: u8, fields: &[u8]) -> Vec<u8> {
    let suite = SUITES[usize::from(choice) % 2];
    let mechanism = Mechanism::ALL[usize::from(choice) / 2 % 6];
    let (before, behind) = around(mechanism);
    let commitment = if mechanism.is_committed() { 16 } else { 0 };
    let wrap_length = u16::try_from(before + 32 + behind + commitment).expect("a few hundred bytes");
    let header = [1, suite.number(), mechanism.number(), 16];
    [&header, ID.as_slice(), &wrap_length.to_be_bytes(), fields].concat()
}
