//! Requests of well-behaved callers: responses, deadlines, limits, panics, cancellation.

use futures_util::future::join_all;
use tonic::Code;
use tonic::metadata::MetadataValue;

use super::*;

#[tokio::test]
async fn a_call_is_answered_and_counted() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    assert_eq!(encrypt(&client, b"payload").await.unwrap(), b"payload");
    assert_eq!(daemon.answered("Encrypt", "OK"), 1);
    assert_eq!(daemon.metrics.connections.get(), 1);
    drop(client);
    until(|| daemon.metrics.connections.get() == 0).await;
}

#[tokio::test]
async fn the_calls_of_a_connection_have_its_number_and_those_of_another_one_have_another() {
    let daemon = Daemon::start();
    let mut connections = Vec::new();
    for mut client in [daemon.client().await, daemon.client().await] {
        for _ in 0..2 {
            let answer = client.encrypt(EncryptRequest::default()).await.unwrap();
            connections.push(answer.into_inner().key_id);
        }
    }
    assert!(connections[0] == connections[1] && connections[2] == connections[3] && connections[1] != connections[2]);
    assert!(
        connections.iter().all(|connection| connection.starts_with("Some")),
        "{connections:?}"
    );
}

#[tokio::test]
async fn an_unknown_method_is_unimplemented_and_makes_no_label() {
    let daemon = Daemon::start();
    let mut stream = daemon.connect().await;
    wire::greet(&mut stream).await;
    let frame = wire::frame(wire::HEADERS, wire::END_HEADERS | 1, 1, &wire::call("/v9.Evil/Call"));
    tokio::io::AsyncWriteExt::write_all(&mut stream, &frame).await.unwrap();
    until(|| daemon.answered("other", "UNIMPLEMENTED") == 1).await;
}

#[tokio::test]
async fn calls_are_counted_by_protocol_and_only_known_names_become_labels() {
    let daemon = Daemon::start();
    let mut stream = daemon.connect().await;
    wire::greet(&mut stream).await;
    let paths = [
        "/v1beta1.KeyManagementService/Version",
        "/v1beta1.KeyManagementService/Encrypt",
        "/v1beta1.KeyManagementService/Status",
        "/v9.KeyManagementService/Encrypt",
        "/Encrypt",
    ];
    for (path, stream_id) in paths.into_iter().zip([1, 3, 5, 7, 9]) {
        let frame = wire::frame(wire::HEADERS, wire::END_HEADERS | 1, stream_id, &wire::call(path));
        tokio::io::AsyncWriteExt::write_all(&mut stream, &frame).await.unwrap();
    }
    until(|| daemon.answered("other", "UNIMPLEMENTED") == 3).await;
    for method in ["Version", "Encrypt"] {
        let labels = RequestLabels {
            api: "v1beta1",
            method,
            code: "UNIMPLEMENTED",
        };
        let count = daemon.metrics.requests.get_or_create(&labels).get();
        assert_eq!(count, 1, "the service of these tests has no v1beta1: {method}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_kept_while_the_service_takes_longer() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await;
    let mut request = Request::new(EncryptRequest {
        plaintext: b"slow".to_vec(),
        uid: String::new(),
    });
    request.set_timeout(Duration::from_millis(50));
    let begin = tokio::time::Instant::now();
    let status = client.encrypt(request).await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert!(begin.elapsed() < Duration::from_secs(1));
    assert_eq!(daemon.answered("Encrypt", "DEADLINE_EXCEEDED"), 1);
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_a_request_has_60_s_and_never_more() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await;
    let status = client.status(StatusRequest {}).await.unwrap().into_inner();
    assert!(["59", "60"].contains(&status.key_id.as_str()), "{status:?}");
    let mut request = Request::new(StatusRequest {});
    request.set_timeout(Duration::from_secs(3600));
    let status = client.status(request).await.unwrap().into_inner();
    assert!(["59", "60"].contains(&status.key_id.as_str()), "{status:?}");
    assert_eq!(
        encrypt(&client, b"wait").await.unwrap_err().code(),
        Code::DeadlineExceeded
    );
}

#[tokio::test]
async fn a_malformed_timeout_is_an_invalid_argument() {
    let daemon = Daemon::start();
    let mut client = daemon.client().await;
    let mut request = Request::new(StatusRequest {});
    request
        .metadata_mut()
        .insert("grpc-timeout", MetadataValue::from_static("soon"));
    let status = client.status(request).await.unwrap_err();
    assert_eq!(status.code(), Code::InvalidArgument);
    client.status(StatusRequest {}).await.unwrap();
}

#[tokio::test]
async fn a_panic_is_internal_for_that_request_alone() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    let (before, panicked, after) = tokio::join!(
        encrypt(&client, b"before"),
        encrypt(&client, b"panic"),
        encrypt(&client, b"after")
    );
    let status = panicked.unwrap_err();
    assert_eq!(status.code(), Code::Internal);
    assert!(!status.message().contains("as the test wants it"));
    assert_eq!(
        (before.unwrap(), after.unwrap()),
        (b"before".to_vec(), b"after".to_vec())
    );
    assert_eq!(encrypt(&client, b"later").await.unwrap(), b"later");
}

#[tokio::test]
async fn a_5_mib_message_is_refused_and_the_connection_survives() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    for _ in 0..20 {
        let status = encrypt(&client, &vec![7; 5 << 20]).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(encrypt(&client, b"small").await.unwrap(), b"small");
    }
    let exact = vec![7; (256 << 10) - 64];
    assert_eq!(encrypt(&client, &exact).await.unwrap().len(), exact.len());
}

#[tokio::test]
async fn a_thousand_concurrent_calls_are_answered() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    let answers = join_all((0..1000).map(|_| encrypt(&client, b"payload"))).await;
    for answer in answers {
        assert_eq!(answer.unwrap(), b"payload");
    }
}

#[tokio::test]
async fn requests_beyond_a_connections_room_are_refused_at_once_and_other_connections_go_on() {
    let daemon = Daemon::start();
    let (client, other) = (daemon.client().await, daemon.client().await);
    let calls: Vec<_> = (0..600)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { encrypt(&client, b"wait").await })
        })
        .collect();
    daemon.until_waiting(limits::IN_FLIGHT.per_connection).await;
    until(|| daemon.answered("Encrypt", "RESOURCE_EXHAUSTED") == 88).await;
    // A large message does not block the connection.
    for _ in 0..40 {
        let status = encrypt(&client, &vec![7; 200 << 10]).await.unwrap_err();
        assert_eq!(status.code(), Code::ResourceExhausted);
    }
    assert_eq!(encrypt(&other, b"payload").await.unwrap(), b"payload");
    daemon.service.go_on.notify_waiters();
    let answers = join_all(calls).await;
    let good = answers.iter().filter(|answer| matches!(answer, Ok(Ok(_)))).count();
    assert_eq!(good, limits::IN_FLIGHT.per_connection);
    assert_eq!(encrypt(&client, b"payload").await.unwrap(), b"payload");
}

#[tokio::test]
async fn a_thousand_simultaneous_cancels_leave_nothing_behind_and_the_connection_open() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    for round in 1..=5 {
        let calls: Vec<_> = (0..1000)
            .map(|_| {
                let client = client.clone();
                tokio::spawn(async move { encrypt(&client, b"wait").await })
            })
            .collect();
        daemon.until_waiting(limits::IN_FLIGHT.per_connection).await;
        // The client's own HTTP/2 ends the connection after a thousand responses to cancelled requests.
        until(|| daemon.answered("Encrypt", "RESOURCE_EXHAUSTED") == round * 488).await;
        for call in &calls {
            call.abort();
        }
        daemon.until_waiting(0).await;
        assert_eq!(encrypt(&client, b"payload").await.unwrap(), b"payload");
    }
    assert_eq!(daemon.metrics.connections.get(), 1);
    assert!(daemon.answered("Encrypt", "CANCELLED") >= 5 * 512);
}

#[tokio::test]
async fn calls_of_a_caller_that_vanished_are_dropped() {
    let daemon = Daemon::start();
    let client = daemon.client().await;
    let call = tokio::spawn(async move { encrypt(&client, b"wait").await });
    daemon.until_waiting(1).await;
    call.abort();
    daemon.until_waiting(0).await;
    until(|| daemon.metrics.connections.get() == 0).await;
    assert_eq!(daemon.answered("Encrypt", "CANCELLED"), 1);
}
