//! The share of one connection in the calls to root keys, and the shares of others.

use futures_util::FutureExt;
use futures_util::future::join_all;

use super::*;
use crate::caller::Caller;
use crate::caller::ConnectionId;
use crate::envelope::CALLS;
use crate::envelope::error::ErrorKind;
use crate::envelope::policy::Reuse;
use crate::quota::ASSURED_CALLS;
use crate::quota::Quota;

fn from(connection: u64) -> Caller {
    Caller {
        deadline: Instant::now() + Duration::from_secs(60),
        connection: Some(ConnectionId(connection)),
    }
}

fn refused<T>(results: &[Option<Result<T, EnvelopeError>>]) -> usize {
    let refused = |result: &&Option<Result<T, EnvelopeError>>| match result {
        Some(Err(error)) => error.kind() == ErrorKind::ResourceExhausted,
        Some(Ok(_)) | None => false,
    };
    results.iter().filter(refused).count()
}

#[test]
fn no_connection_takes_all_and_each_has_what_it_is_assured_of() {
    let quota = Quota::new(CALLS);
    let permits: Vec<Vec<_>> = (0..4)
        .map(|connection| std::iter::from_fn(|| quota.enter(Some(ConnectionId(connection)))).collect())
        .collect();
    let held: Vec<_> = permits.iter().map(Vec::len).collect();
    assert_eq!(held, [512, 512, 16, 16]);
    assert!(quota.enter(None).is_none());
}

#[tokio::test(start_paused = true)]
async fn connections_that_decrypt_forged_keys_leave_unwraps_to_others() {
    let fake = one_version();
    let good = sealed_elsewhere(&fake, 1).await.remove(0);
    let node = Node::start(&[&fake], &state(), Policy::default()).await;
    fake.stall();
    let forged = |number: u16| {
        let mut bytes = good.bytes.clone();
        bytes[30..32].copy_from_slice(&number.to_be_bytes());
        let envelope = node.envelope.clone();
        let connection = u64::from(number / 600);
        async move {
            envelope
                .decrypt(Purpose::Kms2, &bytes, None, from(connection))
                .await
                .map(drop)
        }
    };
    // Two connections, each with more calls than its share.
    let mut storm: Vec<_> = (0..1200).map(|number| Box::pin(forged(number))).collect();
    let answers: Vec<_> = storm.iter_mut().map(FutureExt::now_or_never).collect();
    assert_eq!(
        (refused(&answers[..600]), refused(&answers[600..])),
        (600 - 512, 600 - 512)
    );
    sleep(1).await;
    let other = node.envelope.decrypt(Purpose::Kms2, &good.bytes, None, from(7));
    let others = async {
        sleep(1).await;
        fake.let_go();
    };
    let (opened, ()) = tokio::join!(other, others);
    assert_eq!(opened.unwrap().as_slice(), SEED);
    drop(storm);
    sleep(1).await;
    assert!(node.envelope.0.lock().unwraps.is_empty());
}

#[tokio::test(start_paused = true)]
async fn connections_that_encrypt_without_reuse_leave_wraps_to_others() {
    let fake = one_version();
    let policy = Policy {
        reuse: Reuse::Never,
        ..Policy::default()
    };
    let node = Node::start(&[&fake], &state(), policy).await;
    fake.stall();
    let encrypt = |connection| node.envelope.encrypt(Purpose::Kms2, &SEED, from(connection));
    let mut storm: Vec<_> = (0..1200).map(|number| Box::pin(encrypt(number / 600))).collect();
    let answers: Vec<_> = storm.iter_mut().map(FutureExt::now_or_never).collect();
    assert_eq!(
        (refused(&answers[..600]), refused(&answers[600..])),
        (600 - 512, 600 - 512)
    );
    let others = async {
        sleep(1).await;
        fake.let_go();
    };
    let sealing = join_all((0..=ASSURED_CALLS).map(|_| encrypt(7)));
    let (mut sealed, ()) = tokio::join!(sealing, others);
    let beyond = sealed.pop().unwrap().unwrap_err();
    assert_eq!(beyond.kind(), ErrorKind::ResourceExhausted, "all others are taken");
    assert!(sealed.iter().all(Result::is_ok));
}
