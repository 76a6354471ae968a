//! Promises to a kube-apiserver with KMS v1, over a real envelope and a fake root key with switches.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prost::Message as _;
use tonic::Code;
use tonic::service::Routes;

use super::*;
use crate::crypto::suite::Suite;
use crate::kms::options::KmsOptions;
use crate::kms::options::V1beta1;
use crate::kms::test_plugin;
use crate::kms::test_plugin::Lines;
use crate::kms::test_plugin::PAYLOAD as DEK;
use crate::kms::test_plugin::root_key;
use crate::proto::v1beta1::key_management_service_client::KeyManagementServiceClient;
use crate::proto::v2;
use crate::proto::v2::key_management_service_client::KeyManagementServiceClient as V2Client;
use crate::root_key::Wrapped;
use crate::root_key::fake::Fake;
use crate::root_key::fake::Mood;
use crate::root_key::fake::active_from;
use crate::root_key::id::KeyId;
use crate::root_key::mechanism::COMMITMENT;
use crate::root_key::mechanism::Mechanism;
use crate::root_key::sealed_format::header;

/// Both services over a running envelope, as the listener serves them.
struct Plugin {
    v1: KeyManagementServiceClient<Routes>,
    v2: V2Client<Routes>,
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
        let routes = behind.routes(&KmsOptions::default());
        Self {
            v1: KeyManagementServiceClient::new(routes.clone()),
            v2: V2Client::new(routes),
            behind,
        }
    }

    async fn version(&mut self, version: &str) -> Result<VersionResponse, Status> {
        let version = version.to_owned();
        let answer = self.v1.version(VersionRequest { version }).await;
        answer.map(Response::into_inner)
    }

    async fn encrypt(&mut self, plain: &[u8]) -> Result<Vec<u8>, Status> {
        let answer = self.v1.encrypt(to_seal("v1beta1", plain)).await;
        answer.map(|answer| answer.into_inner().cipher)
    }

    async fn decrypt(&mut self, cipher: &[u8]) -> Result<Vec<u8>, Status> {
        let answer = self.v1.decrypt(to_open("v1beta1", cipher)).await;
        answer.map(|answer| answer.into_inner().plain.clone())
    }
}

fn to_seal(version: &str, plain: &[u8]) -> EncryptRequest {
    EncryptRequest {
        version: version.to_owned(),
        plain: plain.to_vec(),
    }
}

fn to_open(version: &str, cipher: &[u8]) -> DecryptRequest {
    DecryptRequest {
        version: version.to_owned(),
        cipher: cipher.to_vec(),
    }
}

#[track_caller]
fn assert_code<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code) {
    assert_eq!(answer.unwrap_err().code(), code);
}

#[tokio::test(start_paused = true)]
async fn what_was_sealed_opens_and_so_does_the_ping_of_the_health_check() {
    let mut plugin = Plugin::start(&root_key()).await;
    for payload in [&DEK[..], b"ping", b"1", &[7; 256]] {
        let sealed = plugin.encrypt(payload).await.unwrap();
        assert_eq!(plugin.decrypt(&sealed).await.unwrap(), payload);
        assert_ne!(
            plugin.encrypt(payload).await.unwrap(),
            sealed,
            "two sealed payloads differ"
        );
    }
    let sealed = plugin.encrypt(&DEK).await.unwrap();
    assert!(
        sealed.len() <= 146,
        "{} bytes are stored with every object",
        sealed.len()
    );
}

#[tokio::test(start_paused = true)]
async fn version_is_v1beta1_and_names_the_plugin_also_without_its_root_key() {
    let fake = root_key();
    fake.set_mood(Mood::Away);
    let mut plugin = Plugin::start(&fake).await;
    let answer = plugin.version("v1beta1").await.unwrap();
    assert_eq!(
        [answer.version, answer.runtime_name, answer.runtime_version],
        ["v1beta1", "dekhand", env!("CARGO_PKG_VERSION")]
    );
}

#[tokio::test(start_paused = true)]
async fn any_other_version_is_an_invalid_argument() {
    let mut plugin = Plugin::start(&root_key()).await;
    let sealed = plugin.encrypt(&DEK).await.unwrap();
    for version in [
        "",
        "v1",
        "v1beta2",
        "v2",
        "V1BETA1",
        "v1beta1\n",
        " v1beta1",
        "v1beta1\0",
    ] {
        assert_code(plugin.version(version).await, Code::InvalidArgument);
        let answer = plugin.v1.encrypt(to_seal(version, &DEK)).await;
        assert_code(answer.map(drop), Code::InvalidArgument);
        let answer = plugin.v1.decrypt(to_open(version, &sealed)).await;
        assert_code(answer.map(drop), Code::InvalidArgument);
    }
}

#[tokio::test(start_paused = true)]
async fn empty_and_oversized_fields_are_invalid_arguments() {
    let mut plugin = Plugin::start(&root_key()).await;
    for plain in [vec![], vec![1; 257], vec![1; 65_535], vec![1; 250_000]] {
        assert_code(plugin.encrypt(&plain).await, Code::InvalidArgument);
    }
    let sealed = plugin.encrypt(&DEK).await.unwrap();
    let longer = |length: usize| [&sealed[..], &vec![0; length - sealed.len()]].concat();
    for cipher in [
        vec![],
        b"not a sealed payload".to_vec(),
        longer(sealed.len() + 1),
        // The longest that kube-apiserver can have stored, and longer ones.
        longer(65_535),
        longer(65_536),
        longer(250_000),
        sealed[..100].to_vec(),
    ] {
        assert_code(plugin.decrypt(&cipher).await, Code::InvalidArgument);
    }
    assert_eq!(plugin.decrypt(&sealed).await.unwrap(), DEK);
}

#[test]
fn the_longest_plain_fits_into_a_sealed_payload_under_every_root_key() {
    let id = KeyId::try_from([5; 32].as_slice()).unwrap();
    // No wrapped data key is longer than one under RSA with 4096 bits, and no suite adds more.
    let wrapped = Wrapped {
        mechanism: Mechanism::RsaOaepSha256,
        bytes: vec![6; 512],
    };
    let suite = Suite::A256CbcHs512;
    let header = header(suite, &id, &wrapped, Some(&[7; COMMITMENT]));
    assert_eq!(header.len() + suite.sealed_length(LONGEST_PLAIN), 886);
}

#[tokio::test(start_paused = true)]
async fn a_message_over_256_kib_never_gets_to_the_service() {
    let mut plugin = Plugin::start(&root_key()).await;
    for (length, code) in [
        (256 << 10, Code::InvalidArgument),
        (1 + (256 << 10), Code::OutOfRange),
        (5 << 20, Code::OutOfRange),
    ] {
        let mut encrypt = to_seal("v1beta1", &vec![7; length]);
        // Tags, lengths and the version are within the message.
        encrypt.plain.truncate(2 * length - encrypt.encoded_len());
        assert_eq!(encrypt.encoded_len(), length);
        assert_code(plugin.v1.encrypt(encrypt).await.map(drop), code);
    }
    assert!(plugin.encrypt(&DEK).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn no_flipped_bit_is_ever_answered_ok() {
    let mut plugin = Plugin::start(&root_key()).await;
    let good = plugin.encrypt(&DEK).await.unwrap();
    for bit in 0..good.len() * 8 {
        let mut cipher = good.clone();
        cipher[bit / 8] ^= 1 << (bit % 8);
        let status = plugin.decrypt(&cipher).await.unwrap_err();
        let refused = [Code::InvalidArgument, Code::FailedPrecondition];
        assert!(refused.contains(&status.code()), "bit {bit}: {status:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn no_truncation_is_ever_answered_ok() {
    let mut plugin = Plugin::start(&root_key()).await;
    let good = plugin.encrypt(&DEK).await.unwrap();
    for length in 0..good.len() {
        assert_code(plugin.decrypt(&good[..length]).await, Code::InvalidArgument);
    }
}

#[tokio::test(start_paused = true)]
async fn what_one_protocol_sealed_the_other_does_not_open() {
    let mut plugin = Plugin::start(&root_key()).await;
    let of_v1 = plugin.encrypt(&DEK).await.unwrap();
    let seal = v2::EncryptRequest {
        plaintext: DEK.to_vec(),
        uid: "uid".to_owned(),
    };
    let of_v2 = plugin.v2.encrypt(seal).await.unwrap().into_inner();
    // Twice: a data key in the cache must not change the result of the second call.
    for _ in 0..2 {
        assert_code(plugin.decrypt(&of_v2.ciphertext).await, Code::InvalidArgument);
        let mut open = v2::DecryptRequest {
            ciphertext: of_v1.clone(),
            uid: "uid".to_owned(),
            key_id: of_v2.key_id.clone(),
            ..v2::DecryptRequest::default()
        };
        assert_code(plugin.v2.decrypt(open.clone()).await.map(drop), Code::InvalidArgument);
        open.ciphertext.clone_from(&of_v2.ciphertext);
        assert_eq!(plugin.v2.decrypt(open).await.unwrap().get_ref().plaintext, DEK);
        assert_eq!(plugin.decrypt(&of_v1).await.unwrap(), DEK);
    }
}

#[tokio::test(start_paused = true)]
async fn a_restart_and_a_second_replica_open_what_the_first_sealed() {
    let fake = root_key();
    let sealed = Plugin::start(&fake).await.encrypt(&DEK).await.unwrap();
    assert_eq!(Plugin::start(&fake).await.decrypt(&sealed).await.unwrap(), DEK);
}

#[tokio::test(start_paused = true)]
async fn an_unknown_version_of_the_root_key_is_a_failed_precondition() {
    let elsewhere = Fake::new();
    elsewhere.set(2, active_from(1_700_000_000));
    let sealed = Plugin::start(&elsewhere).await.encrypt(&DEK).await.unwrap();
    let mut plugin = Plugin::start(&root_key()).await;
    assert_code(plugin.decrypt(&sealed).await, Code::FailedPrecondition);
}

#[tokio::test(start_paused = true)]
async fn after_a_rotation_old_payloads_open_and_new_ones_are_under_the_new_version() {
    let fake = root_key();
    let mut plugin = Plugin::start(&fake).await;
    let old = plugin.encrypt(&DEK).await.unwrap();
    fake.set(2, active_from(1_700_000_001));
    tokio::time::sleep(Duration::from_secs(120)).await;
    let new = plugin.encrypt(&DEK).await.unwrap();
    // Format, suite, mechanism and the id's length are before the id.
    assert_ne!(old[4..20], new[4..20]);
    for sealed in [old, new] {
        assert_eq!(plugin.decrypt(&sealed).await.unwrap(), DEK);
    }
}

#[tokio::test(start_paused = true)]
async fn without_the_root_key_encrypt_is_an_error_and_its_return_ends_it() {
    let fake = root_key();
    fake.set_mood(Mood::Away);
    let mut plugin = Plugin::start(&fake).await;
    assert_code(plugin.encrypt(b"ping").await, Code::Unavailable);
    fake.set_mood(Mood::Refuses);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert_code(plugin.encrypt(b"ping").await, Code::FailedPrecondition);
    fake.set_mood(Mood::Good);
    tokio::time::sleep(Duration::from_secs(120)).await;
    let sealed = plugin.encrypt(b"ping").await.unwrap();
    // A data key in memory keeps working through an outage, as with KMS v2.
    fake.set_mood(Mood::Away);
    tokio::time::sleep(Duration::from_secs(120)).await;
    assert!(plugin.encrypt(b"ping").await.is_ok());
    assert_eq!(plugin.decrypt(&sealed).await.unwrap(), b"ping");
}

#[tokio::test(start_paused = true)]
async fn switched_off_its_calls_are_unimplemented_and_those_of_v2_go_on() {
    let plugin = test_plugin::Plugin::start(&root_key()).await;
    let options = KmsOptions {
        v1beta1: V1beta1::Off,
        ..KmsOptions::default()
    };
    let routes = plugin.routes(&options);
    let mut v1 = KeyManagementServiceClient::new(routes.clone());
    let version = v1.version(VersionRequest::default()).await;
    assert_code(version, Code::Unimplemented);
    assert_code(
        v1.encrypt(to_seal("v1beta1", &DEK)).await.map(drop),
        Code::Unimplemented,
    );
    assert_code(
        v1.decrypt(to_open("v1beta1", &DEK)).await.map(drop),
        Code::Unimplemented,
    );
    let status = V2Client::new(routes).status(v2::StatusRequest {}).await;
    assert_eq!(status.unwrap().get_ref().healthz, "ok");
}

#[tokio::test(start_paused = true)]
async fn requests_are_logged_when_wanted_and_never_with_key_material() {
    let (lines, _guard) = Lines::as_json();
    let mut plugin = Plugin::start(&root_key()).await;
    lines.taken();
    plugin.encrypt(&DEK).await.unwrap();
    assert_eq!(lines.taken(), "");
    plugin.log_requests.store(true, Ordering::Relaxed);
    plugin.version("v1beta1").await.unwrap();
    let sealed = plugin.encrypt(&DEK).await.unwrap();
    plugin.decrypt(&sealed).await.unwrap();
    let logged = lines.taken();
    for expected in [
        "\"api\":\"v1beta1\"",
        "\"method\":\"Version\"",
        "\"method\":\"Encrypt\"",
        "\"method\":\"Decrypt\"",
        "\"payload_bytes\":32",
        "\"sealed_bytes\":",
        "\"microseconds\":",
        "\"code\":\"OK\"",
        &plugin.envelope.status().unwrap().to_string(),
    ] {
        assert!(logged.contains(expected), "{expected} in {logged}");
    }
    for secret in [
        std::str::from_utf8(&DEK).unwrap(),
        &hex::encode(DEK),
        &hex::encode(&sealed[..20]),
    ] {
        assert!(!logged.contains(secret), "{logged}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_flood_of_bad_requests_leaves_few_lines_also_over_both_protocols() {
    let (lines, _guard) = Lines::as_text();
    let mut plugin = Plugin::start(&root_key()).await;
    lines.taken();
    for _ in 0..250 {
        plugin.version("x\nERROR forged").await.unwrap_err();
        plugin.v2.encrypt(v2::EncryptRequest::default()).await.unwrap_err();
    }
    let logged = lines.taken();
    let count = logged.lines().count();
    assert!((10..250).contains(&count), "{count}");
    assert!(
        logged.lines().all(|line| line.contains("refused a request")),
        "{logged}"
    );
}
