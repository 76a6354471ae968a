//! Payloads with a good wrapped key and a wrong commitment, under a mechanism without authentication.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;

use async_trait::async_trait;
use sha2::Digest as _;
use sha2::Sha256;

use super::*;
use crate::envelope::error::ErrorKind;
use crate::root_key::Wrapped;
use crate::root_key::error::Error;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::COMMITMENT;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::sealed_format::Sealed;
use crate::root_key::version::Version;
use crate::root_key::waiters::Waiters;
use crate::secret::Key;
use crate::secret::random_bytes;

/// A store that unwraps any bytes of the right length to some key, as a token does with AES-CBC.
#[derive(Debug, Default)]
struct Malleable {
    unwraps: AtomicU32,
    lies: AtomicBool,
}

impl Malleable {
    fn take_unwraps(&self) -> u32 {
        self.unwraps.swap(0, Ordering::Relaxed)
    }

    fn lie(&self, lies: bool) {
        self.lies.store(lies, Ordering::Relaxed);
    }
}

#[async_trait]
impl RootKey for Malleable {
    async fn discover(&self) -> Result<Vec<Version>, Error> {
        one_version().discover().await
    }

    async fn wrap(&self, _id: &KeyId, data_key: &Key, waiters: &Waiters) -> Result<Wrapped, Error> {
        waiters.begin();
        let iv = random_bytes::<16>().unwrap();
        Ok(Wrapped {
            mechanism: Mechanism::AesCbc,
            bytes: [iv.as_slice(), &masked(data_key.expose(), &iv)].concat(),
        })
    }

    async fn unwrap(&self, _id: &KeyId, wrapped: &Wrapped, waiters: &Waiters) -> Result<Key, Error> {
        waiters.begin();
        self.unwraps.fetch_add(1, Ordering::Relaxed);
        if self.lies.load(Ordering::Relaxed) {
            return Ok(Key::random().unwrap());
        }
        let (iv, sealed) = wrapped.bytes.split_first_chunk::<16>().unwrap();
        Ok(Key::copied_from(&masked(sealed, iv)).unwrap())
    }
}

/// Adds or removes the key stream of an IV.
fn masked(bytes: &[u8], iv: &[u8; 16]) -> Vec<u8> {
    let stream = Sha256::digest(iv);
    bytes.iter().zip(stream).map(|(byte, mask)| byte ^ mask).collect()
}

async fn start(store: &Arc<Malleable>, policy: Policy) -> Node {
    let clock = Clock::turned(Timestamp::from_unix(START));
    let stores = vec![Arc::clone(store) as Arc<dyn RootKey>];
    Node::start_on(stores, &state(), policy, clock, FileThread::in_place()).await
}

/// A node, and a payload whose data key the node does not have in memory.
async fn node_and_payload(policy: Policy) -> (Arc<Malleable>, Node, SealedPayload) {
    let store = Arc::new(Malleable::default());
    let sealed = start(&store, Policy::default()).await.encrypt().await.unwrap();
    let node = start(&store, policy).await;
    store.take_unwraps();
    (store, node, sealed)
}

/// The same payload with a changed commitment, a different one for each number.
fn changed(sealed: &SealedPayload, number: u32) -> Vec<u8> {
    let header = Sealed::parse(&sealed.bytes).unwrap().header.len();
    let mut bytes = sealed.bytes.clone();
    let commitment = &mut bytes[header - COMMITMENT..header];
    for (byte, change) in commitment.iter_mut().zip((number + 1).to_be_bytes()) {
        *byte ^= change;
    }
    bytes
}

async fn is_refused(node: &Node, bytes: &[u8]) {
    let refused = node.decrypt_bytes(bytes).await.unwrap_err();
    assert_eq!(refused.kind(), ErrorKind::InvalidArgument, "{refused}");
}

fn without_a_cache() -> Policy {
    Policy {
        cache_ttl: Duration::ZERO,
        ..Policy::default()
    }
}

#[tokio::test(start_paused = true)]
async fn any_number_of_changed_commitments_under_one_wrapped_key_make_two_token_calls() {
    let (store, node, sealed) = node_and_payload(Policy::default()).await;
    for number in 0..2000 {
        is_refused(&node, &changed(&sealed, number)).await;
    }
    assert_eq!(store.take_unwraps(), 2);
    assert!(
        node.reads(&sealed).await,
        "the right commitment, under the same wrapped key"
    );
    assert_eq!(store.take_unwraps(), 0);
}

#[tokio::test(start_paused = true)]
async fn changed_commitments_take_no_place_from_bad_wrapped_keys() {
    let (_store, node, sealed) = node_and_payload(Policy::default()).await;
    for number in 0..10 {
        is_refused(&node, &changed(&sealed, number)).await;
    }
    assert_eq!(node.envelope.0.lock().cache.bad_ones(), 0);
}

#[tokio::test(start_paused = true)]
async fn one_payload_with_a_changed_commitment_makes_two_token_calls_in_a_minute() {
    for policy in [Policy::default(), without_a_cache()] {
        let (store, node, sealed) = node_and_payload(policy).await;
        for _minute in 0..3 {
            for _ in 0..60 {
                is_refused(&node, &changed(&sealed, 1)).await;
            }
            assert_eq!(store.take_unwraps(), 2);
            sleep(61).await;
            store.take_unwraps();
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_wrong_key_from_the_token_costs_no_payload_with_the_right_commitment() {
    for lies in 1..4 {
        for policy in [Policy::default(), without_a_cache()] {
            let (store, node, sealed) = node_and_payload(policy).await;
            store.lie(true);
            for _ in 0..lies {
                is_refused(&node, &sealed.bytes).await;
            }
            store.lie(false);
            assert!(node.reads(&sealed).await, "after {lies} wrong keys");
        }
    }
}
