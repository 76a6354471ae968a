//! The test vectors of the sealed format: every release opens them, and what it seals opens by the independent program.
//!
//! Payloads sealed here are written to the target directory, where `tests/run vectors` hands them to
//! `tests/vectors/open.py`, which knows nothing of this crate.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test may panic")]

use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use aes::Aes256;
use aes_gcm::AesGcm;
use aes_gcm::aead::Aead as _;
use aes_gcm::aead::KeyInit as _;
use aes_gcm::aead::Payload;
use async_trait::async_trait;
use cbc::cipher::BlockModeDecrypt as _;
use cbc::cipher::BlockModeEncrypt as _;
use cbc::cipher::KeyIvInit as _;
use cbc::cipher::block_padding::NoPadding;
use cbc::cipher::consts::U12;
use cbc::cipher::consts::U16;
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
use dekhand::secret::random_bytes;
use dekhand::telemetry::metrics::Metrics;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;
use tokio::time::Instant;

/// What a token computes for mechanisms 1 to 4, in software. Of RSA only the answer of the vector is known: the
/// independent program is the one that decrypts it.
#[derive(Debug)]
struct SoftToken {
    id: KeyId,
    mechanism: Mechanism,
    root_key: Vec<u8>,
    rsa_answer: Option<(Vec<u8>, Key)>,
    wrapped_last: Mutex<Vec<u8>>,
}

impl SoftToken {
    fn gcm<N: cbc::cipher::array::ArraySize>(&self) -> AesGcm<Aes256, N> {
        AesGcm::new_from_slice(&self.root_key).unwrap()
    }

    fn wrap_bytes(&self, key: &[u8]) -> Vec<u8> {
        let aad = self.mechanism.wrap_associated_data(&self.id);
        let payload = Payload { msg: key, aad: &aad };
        match self.mechanism {
            Mechanism::AesGcm => {
                let iv = random_bytes::<12>().unwrap();
                [iv.to_vec(), self.gcm::<U12>().encrypt(&iv.into(), payload).unwrap()].concat()
            }
            Mechanism::AesGcmTokenIv => {
                let iv = random_bytes::<16>().unwrap();
                [iv.to_vec(), self.gcm::<U16>().encrypt(&iv.into(), payload).unwrap()].concat()
            }
            Mechanism::AesKwp => {
                let mut wrapped = vec![0; 40];
                let kwp = aes_kw::KwpAes256::new_from_slice(&self.root_key).unwrap();
                kwp.wrap_key(key, &mut wrapped).unwrap();
                wrapped
            }
            Mechanism::AesCbc => {
                let iv = random_bytes::<16>().unwrap();
                let cbc = cbc::Encryptor::<Aes256>::new_from_slices(&self.root_key, &iv).unwrap();
                [iv.to_vec(), cbc.encrypt_padded_vec::<NoPadding>(key)].concat()
            }
            Mechanism::RsaOaepSha256 | Mechanism::RsaOaepSha1 => panic!("no RSA here"),
        }
    }

    fn unwrap_bytes(&self, wrapped: &[u8]) -> Option<Vec<u8>> {
        let aad = self.mechanism.wrap_associated_data(&self.id);
        match self.mechanism {
            Mechanism::AesGcm => {
                let (iv, msg) = wrapped.split_first_chunk::<12>()?;
                self.gcm::<U12>()
                    .decrypt(&(*iv).into(), Payload { msg, aad: &aad })
                    .ok()
            }
            Mechanism::AesGcmTokenIv => {
                let (iv, msg) = wrapped.split_first_chunk::<16>()?;
                self.gcm::<U16>()
                    .decrypt(&(*iv).into(), Payload { msg, aad: &aad })
                    .ok()
            }
            Mechanism::AesKwp => {
                let mut key = vec![0; 32];
                let kwp = aes_kw::KwpAes256::new_from_slice(&self.root_key).ok()?;
                kwp.unwrap_key(wrapped, &mut key).ok().map(<[u8]>::to_vec)
            }
            Mechanism::AesCbc => {
                let (iv, ciphertext) = wrapped.split_first_chunk::<16>()?;
                let cbc = cbc::Decryptor::<Aes256>::new_from_slices(&self.root_key, iv).ok()?;
                cbc.decrypt_padded_vec::<NoPadding>(ciphertext).ok()
            }
            Mechanism::RsaOaepSha256 | Mechanism::RsaOaepSha1 => {
                let (asked, answer) = self.rsa_answer.as_ref()?;
                (asked == wrapped).then(|| answer.expose().to_vec())
            }
        }
    }
}

#[async_trait]
impl RootKey for SoftToken {
    async fn discover(&self) -> Result<Vec<Version>, Error> {
        let state = State::ActiveFrom(Timestamp::from_unix(0));
        Ok(vec![Version {
            number: Number::FIRST,
            state,
            id: self.id.clone(),
        }])
    }

    async fn wrap(&self, _: &KeyId, data_key: &Key, _: &Waiters) -> Result<Wrapped, Error> {
        *self.wrapped_last.lock().unwrap() = data_key.expose().to_vec();
        Ok(Wrapped {
            mechanism: self.mechanism,
            bytes: self.wrap_bytes(data_key.expose()),
        })
    }

    async fn unwrap(&self, id: &KeyId, wrapped: &Wrapped, _: &Waiters) -> Result<Key, Error> {
        let same = wrapped.mechanism == self.mechanism;
        let key = same.then(|| self.unwrap_bytes(&wrapped.bytes)).flatten();
        key.and_then(|key| Key::copied_from(&key))
            .ok_or_else(|| Error::bad_wrap(id))
    }
}

fn purpose(name: &str) -> Purpose {
    let all = [Purpose::Kms1, Purpose::Kms2, Purpose::Codec, Purpose::Seal];
    all.into_iter().find(|purpose| purpose.as_str() == name).unwrap()
}

fn bytes(vector: &Value, field: &str) -> Vec<u8> {
    hex::decode(vector[field].as_str().unwrap()).unwrap()
}

/// A running envelope over a token.
fn envelope(token: Arc<SoftToken>, purpose: Purpose, suite: Suite, state: &TempDir) -> Envelope {
    let envelope = Envelope::new(Parts {
        stores: vec![Store {
            name: "vectors".parse().unwrap(),
            root_key: token,
        }],
        purposes: vec![purpose],
        policy: Policy {
            suite,
            ..Policy::default()
        },
        high_water: HighWaterFile::of(state.path()),
        files: FileThread::in_place(),
        clock: Clock::turned(Timestamp::from_unix(1_800_000_000)),
        metrics: Metrics::new(),
    });
    let running = envelope.clone();
    tokio::spawn(async move { running.run().await });
    envelope
}

/// The envelope, and the token of a vector below it.
fn envelope_of(vector: &Value, state: &TempDir) -> Envelope {
    let number = u8::try_from(vector["mechanism"].as_u64().unwrap()).unwrap();
    let mechanism = Mechanism::from_number(number).unwrap();
    let sealed = bytes(vector, "sealed");
    let rsa = matches!(mechanism, Mechanism::RsaOaepSha256 | Mechanism::RsaOaepSha1);
    let rsa_answer = rsa.then(|| {
        let parsed = dekhand::root_key::sealed_format::Sealed::parse(&sealed).unwrap();
        (
            parsed.wrap.to_vec(),
            Key::copied_from(&bytes(vector, "data_key")).unwrap(),
        )
    });
    let token = SoftToken {
        id: KeyId::try_from(bytes(vector, "id").as_slice()).unwrap(),
        mechanism,
        root_key: if rsa { Vec::new() } else { bytes(vector, "root_key") },
        rsa_answer,
        wrapped_last: Mutex::default(),
    };
    envelope(
        Arc::new(token),
        purpose(vector["purpose"].as_str().unwrap()),
        Suite::default(),
        state,
    )
}

fn vectors() -> Vec<(PathBuf, Value)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors/v1");
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let read = |path: PathBuf| {
        let text = std::fs::read(&path).unwrap();
        (path, serde_json::from_slice(&text).unwrap())
    };
    files.map(read).collect()
}

#[tokio::test(start_paused = true)]
async fn every_vector_opens_and_every_bit_flip_truncation_and_extension_of_it_is_refused() {
    let state = tempfile::tempdir().unwrap();
    let vectors = vectors();
    assert!(vectors.len() >= 24, "both suites and six mechanisms: {}", vectors.len());
    for (path, vector) in vectors {
        let envelope = envelope_of(&vector, &state);
        let purpose = purpose(vector["purpose"].as_str().unwrap());
        let sealed = bytes(&vector, "sealed");
        // Below the time that a caller with an unknown id would wait for it to appear.
        let soon = Duration::from_millis(100);
        let key_id = vector["id"].as_str();
        tokio::time::sleep(Duration::from_secs(1)).await;
        let opened = envelope.decrypt(purpose, &sealed, key_id, Instant::now() + soon).await;
        assert_eq!(
            opened.unwrap().as_slice(),
            bytes(&vector, "payload"),
            "{}",
            path.display()
        );
        for bit in 0..sealed.len() * 8 {
            let mut flipped = sealed.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let opened = envelope.decrypt(purpose, &flipped, None, Instant::now() + soon).await;
            assert!(opened.is_err(), "{} with bit {bit} flipped", path.display());
        }
        for length in 0..sealed.len() {
            let opened = envelope
                .decrypt(purpose, &sealed[..length], None, Instant::now() + soon)
                .await;
            assert!(opened.is_err(), "{} cut to {length}", path.display());
        }
        for more in [1, 16, 32] {
            let extended = [sealed.clone(), vec![0; more]].concat();
            let opened = envelope.decrypt(purpose, &extended, None, Instant::now() + soon).await;
            assert!(opened.is_err(), "{} with {more} bytes more", path.display());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn fresh_payloads_are_written_for_the_independent_program() {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join("vectors");
    std::fs::create_dir_all(&directory).unwrap();
    for suite in [Suite::Aes256Gcm, Suite::A256CbcHs512] {
        for mechanism in [
            Mechanism::AesGcm,
            Mechanism::AesGcmTokenIv,
            Mechanism::AesKwp,
            Mechanism::AesCbc,
        ] {
            for purpose in [Purpose::Kms1, Purpose::Kms2, Purpose::Codec, Purpose::Seal] {
                let name = format!("fresh-{suite:?}-{mechanism}-{}", purpose.as_str());
                let vector = seal_fresh(&name, suite, mechanism, purpose).await;
                let text = serde_json::to_vec_pretty(&vector).unwrap();
                std::fs::write(directory.join(format!("{name}.json")), text).unwrap();
            }
        }
    }
}

async fn seal_fresh(name: &str, suite: Suite, mechanism: Mechanism, purpose: Purpose) -> Value {
    let state = tempfile::tempdir().unwrap();
    let id = KeyId::random().unwrap();
    let root_key = random_bytes::<32>().unwrap().to_vec();
    let token = Arc::new(SoftToken {
        id: id.clone(),
        mechanism,
        root_key: root_key.clone(),
        rsa_answer: None,
        wrapped_last: Mutex::default(),
    });
    let envelope = envelope(token.clone(), purpose, suite, &state);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let payload = random_bytes::<32>().unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(3);
    let sealed = envelope.encrypt(purpose, &payload, deadline).await.unwrap();
    let data_key = token.wrapped_last.lock().unwrap().clone();
    json!({
        "name": name,
        "suite": suite.number(),
        "mechanism": mechanism.number(),
        "purpose": purpose.as_str(),
        "id": id.to_string(),
        "root_key": hex::encode(root_key),
        "data_key": hex::encode(data_key),
        "payload": hex::encode(payload),
        "sealed": hex::encode(sealed.bytes),
    })
}
