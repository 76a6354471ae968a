//! Promises to kube-apiserver, over a real envelope and a fake root key with switches.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message as _;
use tonic::Code;

use super::*;
use crate::kms::options::KmsOptions;
use crate::kms::test_plugin;
use crate::kms::test_plugin::Lines;
use crate::kms::test_plugin::PAYLOAD as SEED;
use crate::kms::test_plugin::root_key;
use crate::proto::v2::key_management_service_client::KeyManagementServiceClient;
use crate::root_key::fake::Fake;
use crate::root_key::fake::Mood;
use crate::root_key::fake::active_from;
use crate::root_key::fake::id;

/// The service over a running envelope.
struct Plugin {
    service: KmsV2,
    behind: test_plugin::Plugin,
}

impl Deref for Plugin {
    type Target = test_plugin::Plugin;

    fn deref(&self) -> &test_plugin::Plugin {
        &self.behind
    }
}

impl Plugin {
    async fn start(root_key: &Arc<Fake>) -> Self {
        let behind = test_plugin::Plugin::start(root_key).await;
        let service = KmsV2::new(behind.envelope.clone(), StatusVersion::V2, behind.request_log());
        Self { service, behind }
    }

    async fn status(&self) -> Result<StatusResponse, Status> {
        let answer = self.service.status(Request::new(StatusRequest {})).await;
        answer.map(Response::into_inner)
    }

    async fn encrypt(&self, plaintext: &[u8], uid: &str) -> Result<EncryptResponse, Status> {
        let request = EncryptRequest {
            plaintext: plaintext.to_vec(),
            uid: uid.to_owned(),
        };
        let answer = self.service.encrypt(Request::new(request)).await;
        answer.map(Response::into_inner)
    }

    async fn decrypt(&self, request: DecryptRequest) -> Result<Vec<u8>, Status> {
        let answer = self.service.decrypt(Request::new(request)).await?;
        Ok(answer.into_inner().plaintext.clone())
    }
}

fn to_open(sealed: &EncryptResponse) -> DecryptRequest {
    DecryptRequest {
        ciphertext: sealed.ciphertext.clone(),
        uid: "uid-2".to_owned(),
        key_id: sealed.key_id.clone(),
        annotations: sealed.annotations.clone(),
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_sealed_opens_and_status_names_its_key_id() {
    let plugin = Plugin::start(&root_key()).await;
    let status = plugin.status().await.unwrap();
    assert_eq!((status.version.as_str(), status.healthz.as_str()), ("v2", "ok"));
    let sealed = plugin.encrypt(&SEED, "uid-1").await.unwrap();
    assert_eq!(sealed.key_id, status.key_id);
    assert!(sealed.annotations.is_empty() && sealed.ciphertext.len() <= 178);
    assert_eq!(plugin.decrypt(to_open(&sealed)).await.unwrap(), SEED);
    let again = plugin.encrypt(&SEED, "uid-1").await.unwrap();
    assert_ne!(again.ciphertext, sealed.ciphertext, "two sealed payloads differ");
}

#[tokio::test(start_paused = true)]
async fn wrong_and_oversized_fields_are_invalid_arguments() {
    let plugin = Plugin::start(&root_key()).await;
    let sealed = plugin.encrypt(&SEED, "uid-1").await.unwrap();
    let good = to_open(&sealed);
    let long_uid = "u".repeat(257);
    for (plaintext, uid) in [
        (&b""[..], "uid"),
        (&SEED, &long_uid),
        (&[1; 1024], "uid"),
        (&vec![1; 250_000], "uid"),
    ] {
        let status = plugin.encrypt(plaintext, uid).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?}");
    }
    let annotated = HashMap::from([("dekhand.example".to_owned(), vec![1])]);
    let wrong: [fn(&mut DecryptRequest); 10] = [
        |request| request.ciphertext = vec![],
        |request| request.ciphertext = vec![1; 1024],
        |request| request.ciphertext = b"not a sealed payload".to_vec(),
        |request| request.ciphertext.push(0),
        |request| request.ciphertext.truncate(100),
        |request| request.key_id = String::new(),
        |request| request.key_id = "k".repeat(1025),
        |request| request.key_id = id(9).to_string(),
        |request| request.key_id = request.key_id.to_uppercase() + "\n",
        |request| request.uid = "u".repeat(257),
    ];
    let requests = wrong.into_iter().map(|spoil| {
        let mut request = good.clone();
        spoil(&mut request);
        request
    });
    let annotations = DecryptRequest {
        annotations: annotated,
        ..good.clone()
    };
    for request in requests.chain([annotations]) {
        let status = plugin.decrypt(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument, "{status:?} {request:?}");
    }
    assert_eq!(plugin.decrypt(good).await.unwrap(), SEED);
}

#[tokio::test(start_paused = true)]
async fn a_message_over_256_kib_never_gets_to_the_service() {
    let plugin = Plugin::start(&root_key()).await;
    let routes = plugin.routes(&KmsOptions::default());
    let mut client = KeyManagementServiceClient::new(routes);
    for (length, answer) in [
        (100, Code::Ok),
        // The service itself refuses this payload.
        (256 << 10, Code::InvalidArgument),
        (1 + (256 << 10), Code::OutOfRange),
        (5 << 20, Code::OutOfRange),
    ] {
        let mut encrypt = EncryptRequest::default();
        encrypt.plaintext = vec![7; length];
        // Tag and length of the field are within the message.
        encrypt.plaintext.truncate(2 * length - encrypt.encoded_len());
        assert_eq!(encrypt.encoded_len(), length);
        let answered = client.encrypt(encrypt).await;
        let code = answered.map_or_else(|status| status.code(), |_| Code::Ok);
        assert_eq!(code, answer, "an Encrypt of {length} bytes");
    }
    let mut decrypt = to_open(&plugin.encrypt(&SEED, "uid-1").await.unwrap());
    assert_eq!(client.decrypt(decrypt.clone()).await.unwrap().get_ref().plaintext, SEED);
    decrypt.annotations.insert("a".repeat(63), vec![7; 256 << 10]);
    let refused = client.decrypt(decrypt).await.err().unwrap();
    assert_eq!(refused.code(), Code::OutOfRange);
}

#[tokio::test(start_paused = true)]
async fn no_flipped_bit_is_ever_answered_ok() {
    let plugin = Plugin::start(&root_key()).await;
    let good = to_open(&plugin.encrypt(&SEED, "uid-1").await.unwrap());
    for bit in 0..good.ciphertext.len() * 8 {
        let mut request = good.clone();
        request.ciphertext[bit / 8] ^= 1 << (bit % 8);
        let status = plugin.decrypt(request).await.unwrap_err();
        let refused = [Code::InvalidArgument, Code::FailedPrecondition];
        assert!(refused.contains(&status.code()), "bit {bit}: {status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_is_a_failed_precondition() {
    let (here, elsewhere) = (root_key(), Fake::new());
    elsewhere.set(2, active_from(1_700_000_000));
    let sealed = Plugin::start(&elsewhere).await.encrypt(&SEED, "uid-1").await.unwrap();
    let plugin = Plugin::start(&here).await;
    let status = plugin.decrypt(to_open(&sealed)).await.unwrap_err();
    assert_eq!(status.code(), Code::FailedPrecondition, "{status:?}");
}

#[tokio::test(start_paused = true)]
async fn without_the_root_key_status_is_an_error_and_never_a_bad_healthz() {
    let fake = root_key();
    fake.set_mood(Mood::Away);
    let plugin = Plugin::start(&fake).await;
    assert_eq!(plugin.status().await.unwrap_err().code(), Code::Unavailable);
    assert_eq!(
        plugin.encrypt(&SEED, "uid").await.unwrap_err().code(),
        Code::Unavailable
    );
    fake.set_mood(Mood::Refuses);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(plugin.status().await.unwrap_err().code(), Code::FailedPrecondition);
    fake.set_mood(Mood::Good);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_eq!(plugin.status().await.unwrap().healthz, "ok");
}

#[tokio::test(start_paused = true)]
async fn requests_are_logged_when_wanted_and_never_with_key_material() {
    let (lines, _guard) = Lines::as_json();
    let plugin = Plugin::start(&root_key()).await;
    let sealed = plugin.encrypt(&SEED, "uid-1").await.unwrap();
    assert!(!lines.taken().contains("uid-1"));
    plugin.log_requests.store(true, Ordering::Relaxed);
    plugin.encrypt(&SEED, "uid-1").await.unwrap();
    plugin.decrypt(to_open(&sealed)).await.unwrap();
    let logged = lines.taken();
    for expected in [
        "\"api\":\"v2\"",
        "\"method\":\"Encrypt\"",
        "\"uid\":\"uid-1\"",
        "\"uid\":\"uid-2\"",
        "\"payload_bytes\":32",
        "\"sealed_bytes\":",
        "\"microseconds\":",
        "\"code\":\"OK\"",
        &sealed.key_id,
    ] {
        assert!(logged.contains(expected), "{expected} in {logged}");
    }
    for secret in [
        &SEED[..],
        hex::encode(SEED).as_bytes(),
        &hex::encode(&sealed.ciphertext).into_bytes()[..40],
    ] {
        assert!(!logged.contains(std::str::from_utf8(secret).unwrap()), "{logged}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_requests_leaves_few_lines_and_none_is_forged() {
    let (lines, _guard) = Lines::as_text();
    let plugin = Plugin::start(&root_key()).await;
    lines.taken();
    for _ in 0..500 {
        plugin.encrypt(b"", "x\nERROR forged").await.unwrap_err();
    }
    let logged = lines.taken();
    let count = logged.lines().count();
    assert!((10..500).contains(&count), "{count}");
    assert!(
        logged.lines().all(|line| line.contains("refused a request")),
        "{logged}"
    );
}
